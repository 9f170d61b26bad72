"""MNIST: handwritten digits (LeCun, Cortes and Burges)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from lip_plugin.data.catalogue import DataSet, TestSplit
from lip_plugin.data.digests import shipped_digests
from lip_plugin.data.download import by_torchvision
from lip_plugin.data.readers import Arrays

if TYPE_CHECKING:
    from lip_plugin.data.readers import ArrayPair


def _read(directory: Path, split: str) -> ArrayPair:
    from lip_plugin.data.idx import read_idx_split

    return read_idx_split(directory, split, folder="MNIST/raw", what="mnist")


DATASET = DataSet(
    "mnist",
    "MNIST",
    Arrays(_read),
    image_shape=(1, 28, 28),
    num_classes=10,
    class_names=("0", "1", "2", "3", "4", "5", "6", "7", "8", "9"),
    standard_eps=0.3,  # of the published figures
    test=TestSplit(10_000, digests=shipped_digests("mnist")),
    may_be_shown=True,
    files="idx files, plain or .gz, here or in MNIST/raw",
    hub="ylecun/mnist",
    download=by_torchvision("MNIST"),
)
