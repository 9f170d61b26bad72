"""Fashion-MNIST (Xiao, Rasul and Vollgraf, arXiv:1708.07747; MIT licence)."""

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

    return read_idx_split(directory, split, folder="FashionMNIST/raw", what="fashion_mnist")


DATASET = DataSet(
    "fashion_mnist",
    "Fashion-MNIST",
    Arrays(_read),
    image_shape=(1, 28, 28),
    num_classes=10,
    class_names=(
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    ),
    standard_eps=0.25,  # the one that our model was trained for
    test=TestSplit(10_000, digests=shipped_digests("fashion_mnist")),
    may_be_shown=True,
    files="idx files, plain or .gz, here or in FashionMNIST/raw",
    hub="zalando-datasets/fashion_mnist",
    download=by_torchvision("FashionMNIST"),
)
