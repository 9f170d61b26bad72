"""Tiny-ImageNet from its official folders, decoded once and kept as arrays beside them."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lip_plugin.data.classes import read_class_names
from lip_plugin.data.pictures import PICTURE_SUFFIXES, read_rgb
from lip_plugin.errors import ConfigError, DataError
from lip_plugin.files import complete_directory

logger = logging.getLogger(__name__)

_FOLDER = "tiny-imagenet-200"
_SIDE = 64
_CACHE_FORMAT = 2  # of pictures that `read_rgb` takes today
_CACHE_FILES = frozenset({"pixels.npy", "labels.npy", "key.json"})

Pixels = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int64]


@dataclass(frozen=True)
class _Listing:
    """Pictures of one split with their labels, and a digest that changes when a file or label does."""

    files: list[Path]
    labels: Labels
    digest: str


def read_tiny_imagenet(directory: Path, split: str) -> tuple[Pixels, Labels]:
    """``train`` or, as the test split, ``val``; classes are numbered by sorted WordNet id. Raises DataError.

    Looks in the directory itself and in ``tiny-imagenet-200``. The decoded arrays are kept in
    ``.lip_plugin_<split>`` there, where that is possible: 1.2 GB for ``train``.
    """
    root = _root(directory)
    files, labels = _train_files(root) if split == "train" else _val_files(root)
    listing = _Listing(files, labels, _digest(root, files, labels))
    cache = root / f".lip_plugin_{split}"
    pixels = _cached(cache, listing)
    if pixels is None:
        pixels = _decode(files)
        _keep(cache, pixels, listing)
    return pixels, labels


def count_classes(directory: Path) -> int:
    """As many as ``wnids.txt`` lists. Raises DataError."""
    return len(_classes(_root(directory)))


def _classes(root: Path) -> list[str]:
    path = root / "wnids.txt"
    wnids = sorted(read_class_names(path))
    if len(set(wnids)) != len(wnids):
        raise DataError(f"{path} names a class twice; unpack the archive again")
    return wnids


def _root(directory: Path) -> Path:
    for root in (directory, directory / _FOLDER):
        if (root / "wnids.txt").is_file():
            return root
    raise DataError(f"no wnids.txt in {directory} or {directory / _FOLDER}; that is no Tiny-ImageNet directory")


def _train_files(root: Path) -> tuple[list[Path], Labels]:
    files: list[Path] = []
    labels: list[int] = []
    for number, wnid in enumerate(_classes(root)):
        folder = root / "train" / wnid / "images"
        names = sorted(os.listdir(folder)) if folder.is_dir() else []
        found = [folder / name for name in names if name.lower().endswith(PICTURE_SUFFIXES)]
        if not found:
            raise DataError(f"no pictures in {folder}, which wnids.txt asks for; unpack the archive again")
        files.extend(found)
        labels.extend([number] * len(found))
    return files, np.array(labels, np.int64)


def _val_files(root: Path) -> tuple[list[Path], Labels]:
    """In the order of val_annotations.txt: a file name, a WordNet id, a box."""
    number = {wnid: index for index, wnid in enumerate(_classes(root))}
    path = root / "val" / "val_annotations.txt"
    try:
        rows = [line.split() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from error
    wrong = [row for row in rows if len(row) < 2 or row[1] not in number]
    if wrong or not rows:
        raise DataError(f"{path}: {' '.join(wrong[0]) if wrong else 'no line'}; expected a file name and a known id")
    return [root / "val" / "images" / row[0] for row in rows], np.array([number[row[1]] for row in rows], np.int64)


def _digest(root: Path, files: list[Path], labels: Labels) -> str:
    """Of every name, size, time of change and label."""
    found = hashlib.sha256(f"{_CACHE_FORMAT} {len(files)}".encode())
    for file, label in zip(files, labels.tolist(), strict=True):
        try:
            facts = file.stat()
        except OSError as error:
            raise DataError(f"cannot read {file}: {error.strerror or error}; unpack the archive again") from error
        found.update(f"\0{file.relative_to(root).as_posix()} {facts.st_size} {facts.st_mtime_ns} {label}".encode())
    return found.hexdigest()


def _decode(files: list[Path]) -> Pixels:
    pixels = np.empty((len(files), 3, _SIDE, _SIDE), np.uint8)
    logger.info("decoding %d pictures", len(files))
    for image, file in zip(pixels, files, strict=True):
        picture = read_rgb(file)
        if picture.shape != (_SIDE, _SIDE, 3):
            raise DataError(f"{file} is {picture.shape[1]}x{picture.shape[0]}; expected {_SIDE}x{_SIDE}")
        image[:] = picture.transpose(2, 0, 1)
    return pixels


def _cached(cache: Path, listing: _Listing) -> Pixels | None:
    """The kept pixels where they belong to these very files and are undamaged."""
    try:
        key: Any = json.loads((cache / "key.json").read_text(encoding="utf-8"))
        if key["files"] != listing.digest:
            return None
        pixels = np.load(cache / "pixels.npy", allow_pickle=False)
        labels = np.load(cache / "labels.npy", allow_pickle=False)
        if key["arrays"] == _array_digest(pixels, labels) and np.array_equal(labels, listing.labels):
            return pixels
        logger.warning("%s is damaged; decoding the pictures again", cache)
    except FileNotFoundError:
        pass
    except (OSError, ValueError, EOFError, TypeError, LookupError) as error:
        logger.warning("cannot use %s (%s); decoding the pictures again", cache, error)
    return None


def _keep(cache: Path, pixels: Pixels, listing: _Listing) -> None:
    """A folder that appears whole or not at all. A read-only data directory is no error."""
    try:
        with complete_directory(cache, replaceable=_CACHE_FILES) as folder:
            np.save(folder / "pixels.npy", pixels)
            np.save(folder / "labels.npy", listing.labels)
            key = {"files": listing.digest, "arrays": _array_digest(pixels, listing.labels)}
            (folder / "key.json").write_text(json.dumps(key), encoding="utf-8")
    except ConfigError as error:
        logger.info("decoded pictures are not kept: %s", error)


def _array_digest(pixels: npt.NDArray[Any], labels: npt.NDArray[Any]) -> str:
    found = hashlib.sha256()
    for array in (pixels, labels):
        found.update(f"{array.dtype.str} {array.shape}".encode())
        found.update(np.ascontiguousarray(array).data)
    return found.hexdigest()
