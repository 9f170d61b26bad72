"""ImageNet (ILSVRC 2012): streamed from class folders or WebDataset shards."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from lip_plugin.data.catalogue import DataSet, RobustBench, TestSplit
from lip_plugin.data.readers import Pictures

if TYPE_CHECKING:
    from lip_plugin.data.pictures import PictureSource


def _read(directory: Path, split: str) -> PictureSource:
    from lip_plugin.data.find import find_pictures, find_val

    return find_pictures(directory)[0] if split == "train" else find_val(directory)


DATASET = DataSet(
    "imagenet",
    "ImageNet",
    Pictures(_read),
    image_shape=(3, 224, 224),
    num_classes=1000,
    standard_eps=36 / 255,
    test=TestSplit(50_000, called="validation split"),
    robustbench=RobustBench(own_choice="5,000 validation images of its own choice", preprocessing="Res256Crop224"),
    sok_radii=("1.0", "2.0"),
    files="train/<class>/* and val/<class>/*, or WebDataset shards train/*.tar and val/*.tar",
    hub="ILSVRC/imagenet-1k",
)
