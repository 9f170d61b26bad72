"""Folders with one sub-folder of pictures per class, as ImageNet is commonly kept."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lip_plugin.data.pictures import PICTURE_SUFFIXES, read_rgb
from lip_plugin.errors import DataError

_SHOWN = 3


@dataclass(frozen=True)
class PictureFolder:
    """Pictures of one split. ``names`` are paths below ``root``, one array that worker processes can share."""

    root: Path
    names: npt.NDArray[np.bytes_]
    labels: npt.NDArray[np.int64]
    classes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.labels)

    def path(self, index: int) -> Path:
        return self.root / os.fsdecode(bytes(self.names[index]))

    def read(self, index: int) -> npt.NDArray[np.uint8]:
        """(H, W, 3) in the order red, green, blue. Raises DataError, which names the file."""
        return read_rgb(self.path(index))


def read_classes(path: Path) -> tuple[str, ...]:
    """The first word of every line that has one, sorted. Raises DataError."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read the class list {path}: {getattr(error, 'strerror', None) or error}") from error
    words = [line.split()[0] for line in lines if line.strip()]
    if not words or len(set(words)) != len(words):
        raise DataError(f"the class list {path} is empty or names a class twice; expected one class per line")
    return tuple(sorted(words))


def scan_splits(root: Path, class_file: Path | None = None) -> tuple[PictureFolder, PictureFolder]:
    """``train/<class>/*`` and ``val/<class>/*``. Raises DataError, also where the two differ in their classes.

    A class is numbered by its place in the sorted list of ``class_file``, or of the folder names without one.
    """
    train, val = (_required_folders(root / split) for split in ("train", "val"))
    if train != val:
        only_train, only_val = sorted(set(train) - set(val)), sorted(set(val) - set(train))
        raise DataError(
            f"the classes of {root / 'train'} and {root / 'val'} differ: {_some(only_train)} only in train, "
            f"{_some(only_val)} only in val; labels would not agree"
        )
    classes = train if class_file is None else read_classes(class_file)
    return scan_folder(root / "train", classes), scan_folder(root / "val", classes)


def scan_folder(root: Path, classes: Sequence[str] | None = None) -> PictureFolder:
    """Pictures in the order of class and file name; ``classes`` is the full list where ``root`` has a part of it."""
    folders = _required_folders(root)
    classes = tuple(folders if classes is None else classes)
    unknown = sorted(set(folders) - set(classes))
    if unknown:
        raise DataError(f"{root} has folders that are not in the list of {len(classes)} classes: {_some(unknown)}")
    number = {name: index for index, name in enumerate(classes)}
    names: list[bytes] = []
    labels: list[int] = []
    for folder in folders:
        found = sorted(entry for entry in os.listdir(root / folder) if entry.lower().endswith(PICTURE_SUFFIXES))
        if not found:
            raise DataError(f"{root / folder} has no pictures ({', '.join(PICTURE_SUFFIXES)})")
        names.extend(os.fsencode(os.path.join(folder, entry)) for entry in found)
        labels.extend([number[folder]] * len(found))
    array: Any = np.array(names)
    return PictureFolder(root, array, np.array(labels, np.int64), classes)


def _required_folders(root: Path) -> list[str]:
    if not root.is_dir():
        raise DataError(f"no folder {root}; expected train/<class>/ and val/<class>/ with pictures")
    folders = class_folders(root)
    if not folders:
        raise DataError(f"{root} has no class folders; expected {root}/<class>/ with pictures")
    return folders


def class_folders(root: Path) -> list[str]:
    """Names of the folders in ``root``, sorted, without hidden ones; none where it does not exist."""
    if not root.is_dir():
        return []
    return sorted(entry.name for entry in os.scandir(root) if entry.is_dir() and not entry.name.startswith("."))


def _some(names: Sequence[str]) -> str:
    return (", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")) or "none"
