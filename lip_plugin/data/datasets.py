"""Data sets by name from a directory that is already there. Nothing is downloaded here."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import cast

import numpy as np

from lip_plugin.data.archives import Keys, read_npz
from lip_plugin.data.catalogue import DataSet, dataset_names, find_dataset
from lip_plugin.data.images import ImageSet, checked_image_set
from lip_plugin.data.labelled import LabelledImages
from lip_plugin.data.own import open_images, parse_images
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
    dataset: str,
    split: str,
    data_dir: str | Path | None = None,
    *,
    workers: int = 0,
    crop: int = 224,
    resize: int = 256,
    class_names: Sequence[str] = (),
) -> LabelledImages:
    """The "train" or "test" split of any images, read block by block where they do not fit in memory.

    ``dataset`` is a name of the catalogue, whose files lie in ``data_dir``, or says where your own images are, as on
    the command line: ``folder:DIR?size=32``, ``npz:FILE``, ``shards:DIR``. ``class_names``, those of a model's card,
    number the classes of your own. ``workers``, ``crop`` and ``resize`` (pixels) are those of `PictureSet` and concern
    what is read block by block: see `find_pictures` for what is read of ImageNet, "test" being ``val``.
    `load_into_memory` makes tensors of them. Raises DataError naming what was looked for, ConfigError for a setting.
    """
    cut = Cut(crop, resize, workers)
    own = None if dataset in dataset_names() else parse_images(dataset)
    if own is None:
        record, directory = _checked(dataset, split, data_dir)
        return record.reader.images(dataset, record.num_classes, directory, split, cut)
    if data_dir is not None:
        raise DataError(f"{printable(own.shown)} says where its images are; leave data_dir out")
    _check_split(split, own.shown)
    return open_images(own).images(split, cut, tuple(class_names))


def _checked(dataset: str, split: str, data_dir: str | Path | None) -> tuple[DataSet, Path]:
    record = find_dataset(dataset)
    if record is None:
        known = dataset_names()
        raise DataError(
            f"no reader for data set {printable(repr(dataset), longest=80)}; known: {', '.join(known)}."
            f"{close_matches(dataset, known)} Give your own images with --data: npz:FILE, folder:DIR or shards:DIR"
        )
    _check_split(split, dataset)
    if data_dir is None:
        raise DataError(f"data_dir is missing; give the folder that holds the {dataset} files")
    directory = Path(data_dir)
    if not directory.is_dir():
        raise DataError(f"data directory {directory} does not exist; give the folder that holds the {dataset} files")
    return record, directory


def _check_split(split: str, of: str) -> None:
    if split not in _SPLITS:
        raise DataError(f"no split {split!r} of {printable(of)}; expected {' or '.join(_SPLITS)}")


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
