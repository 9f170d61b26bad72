"""Tiny-ImageNet (Stanford, CS231n): 200 classes of ImageNet at 64 x 64, from its official folders."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from lip_plugin.data.catalogue import DataSet, TestSplit
from lip_plugin.data.digests import shipped_digests
from lip_plugin.data.readers import Arrays

if TYPE_CHECKING:
    from lip_plugin.data.readers import ArrayPair


def _read(directory: Path, split: str) -> ArrayPair:
    from lip_plugin.data.tiny_imagenet import read_tiny_imagenet

    return read_tiny_imagenet(directory, split)


def _count_classes(directory: Path) -> int:
    from lip_plugin.data.tiny_imagenet import count_classes

    return count_classes(directory)


DATASET = DataSet(
    "tiny_imagenet",
    "Tiny-ImageNet",
    Arrays(_read, _count_classes),
    image_shape=(3, 64, 64),
    num_classes=200,
    standard_eps=36 / 255,
    test=TestSplit(10_000, called="validation split", digests=shipped_digests("tiny_imagenet")),
    files="wnids.txt, train and val, here or in tiny-imagenet-200",
    hub="zh-plus/tiny-imagenet",
)
