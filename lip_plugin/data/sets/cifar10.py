"""CIFAR-10 (Krizhevsky, 2009), from its official binary files or python batches."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from lip_plugin.data.catalogue import DataSet, RobustBench, TestSplit
from lip_plugin.data.digests import shipped_digests
from lip_plugin.data.download import by_torchvision
from lip_plugin.data.readers import Arrays

if TYPE_CHECKING:
    from lip_plugin.data.readers import ArrayPair


def _read(directory: Path, split: str) -> ArrayPair:
    from lip_plugin.data.cifar import BatchFiles, read_batches

    layout = BatchFiles(
        title="CIFAR-10",
        folders=("cifar-10-batches-bin", "cifar-10-batches-py"),
        batches={"train": tuple(f"data_batch_{index}" for index in range(1, 6)), "test": ("test_batch",)},
        label_bytes=1,
        label_key=b"labels",
    )
    return read_batches(layout, directory, split)


DATASET = DataSet(
    "cifar10",
    "CIFAR-10",
    Arrays(_read),
    image_shape=(3, 32, 32),
    num_classes=10,
    class_names=("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
    standard_eps=36 / 255,
    test=TestSplit(10_000, digests=shipped_digests("cifar10")),
    may_be_shown=True,
    robustbench=RobustBench(clean_accuracy=70.0, leaderboard=True, dictionaries="cifar_10_models"),
    sok_radii=("36/255", "0.25", "1.0", "2.0"),
    files="cifar-10-batches-bin or cifar-10-batches-py, or what is in them",
    hub="uoft-cs/cifar10",
    download=by_torchvision("CIFAR10"),
)
