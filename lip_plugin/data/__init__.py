"""Images for training and evaluation. Names are loaded on first use: the catalogue needs neither torch nor numpy."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lip_plugin.data.catalogue import DataSet as DataSet
    from lip_plugin.data.catalogue import RobustBench as RobustBench
    from lip_plugin.data.catalogue import TestSplit as TestSplit
    from lip_plugin.data.catalogue import dataset_names as dataset_names
    from lip_plugin.data.catalogue import find_dataset as find_dataset
    from lip_plugin.data.catalogue import list_datasets as list_datasets
    from lip_plugin.data.datasets import load_image_set as load_image_set
    from lip_plugin.data.datasets import load_images as load_images
    from lip_plugin.data.datasets import load_npz as load_npz
    from lip_plugin.data.download import download_image_set as download_image_set
    from lip_plugin.data.find import find_pictures as find_pictures
    from lip_plugin.data.images import ImageSet as ImageSet
    from lip_plugin.data.images import checked_image_set as checked_image_set
    from lip_plugin.data.labelled import LabelledImages as LabelledImages
    from lip_plugin.data.labelled import load_into_memory as load_into_memory
    from lip_plugin.data.picture_set import PictureSet as PictureSet
    from lip_plugin.data.pictures import PictureSource as PictureSource
    from lip_plugin.data.readers import Arrays as Arrays
    from lip_plugin.data.readers import Pictures as Pictures
    from lip_plugin.data.shipped import load_shipped as load_shipped
    from lip_plugin.data.shipped import shipped_datasets as shipped_datasets

_HOME = {
    "catalogue": (
        "DataSet",
        "RobustBench",
        "TestSplit",
        "dataset_names",
        "find_dataset",
        "list_datasets",
    ),
    "datasets": ("load_image_set", "load_images", "load_npz"),
    "download": ("download_image_set",),
    "find": ("find_pictures",),
    "images": ("ImageSet", "checked_image_set"),
    "labelled": ("LabelledImages", "load_into_memory"),
    "picture_set": ("PictureSet",),
    "pictures": ("PictureSource",),
    "readers": ("Arrays", "Pictures"),
    "shipped": ("load_shipped", "shipped_datasets"),
}
_MODULE_OF = {name: module for module, names in _HOME.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
