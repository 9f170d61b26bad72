"""Data sets by name from a directory that is already there. Nothing is downloaded here."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import numpy as np

from lip_plugin.data.archives import Keys, read_npz
from lip_plugin.data.catalogue import DataSet, dataset_names, find_dataset
from lip_plugin.data.images import ImageSet, checked_image_set
from lip_plugin.data.labelled import LabelledImages
from lip_plugin.data.readers import Cut
from lip_plugin.errors import DataError, close_matches
from lip_plugin.untrusted import printable

_SPLITS = ("train", "test")
_CHANNELS_LAST = "image"
_ALONE: tuple[Keys, ...] = (("x", "y"), (_CHANNELS_LAST, "label"))


def load_image_set(dataset: str, split: str, data_dir: str | Path) -> ImageSet:
    """The "train" or "test" split of a data set, in memory. Raises DataError naming what was looked for."""
    record, directory = _checked(dataset, split, data_dir)
    if not record.reader.in_memory:
        raise DataError(f"{dataset} is not loaded into memory; read it block by block with load_images")
    return cast("ImageSet", record.reader.images(dataset, record.num_classes, directory, split, Cut()))


def load_images(
    dataset: str, split: str, data_dir: str | Path, *, workers: int = 0, crop: int = 224, resize: int = 256
) -> LabelledImages:
    """The "train" or "test" split of any data set, read block by block where it does not fit in memory.

    ``workers``, ``crop`` and ``resize`` (pixels) are those of `PictureSet` and concern such data sets alone: see
    `find_pictures` for what is read of ImageNet, "test" being ``val``. Raises DataError naming what was looked for.
    """
    record, directory = _checked(dataset, split, data_dir)
    return record.reader.images(dataset, record.num_classes, directory, split, Cut(crop, resize, workers))


def _checked(dataset: str, split: str, data_dir: str | Path) -> tuple[DataSet, Path]:
    record = find_dataset(dataset)
    if record is None:
        known = dataset_names()
        raise DataError(
            f"no reader for data set {printable(repr(dataset), longest=80)}; known: {', '.join(known)}."
            f"{close_matches(dataset, known)} Give your own images with --data: npz:FILE, folder:DIR or shards:DIR"
        )
    if split not in _SPLITS:
        raise DataError(f"no split {split!r} of {dataset}; expected {' or '.join(_SPLITS)}")
    directory = Path(data_dir)
    if not directory.is_dir():
        raise DataError(f"data directory {directory} does not exist; give the folder that holds the {dataset} files")
    return record, directory


def load_npz(path: str | Path, *, split: str = "test", alone: bool = False) -> ImageSet:
    """A user's own images: ``x`` uint8 or float in [0,1], (N, C, H, W), and ``y`` (N,) integers.

    ``image`` (N, H, W, C) and ``label`` of generated images are read too, and of a file with both splits
    ``x_train`` and ``y_train``, ``x_test`` and ``y_test``. ``alone``: the file has the one split. Raises DataError,
    which says what the file holds.
    """
    path = Path(path)
    both = ((f"x_{split}", f"y_{split}"),)
    known = _ALONE if alone else both if split == "train" else _ALONE + both
    (key, _), pixels, labels = read_npz(path, *known)
    if key == _CHANNELS_LAST and pixels.ndim == 4:
        pixels = np.ascontiguousarray(np.moveaxis(pixels, -1, 1))
    return checked_image_set(pixels, labels, name=path.stem, source=path.name, split=split)
