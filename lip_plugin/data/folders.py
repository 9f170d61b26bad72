"""Folders with one sub-folder of pictures per class: the files, their order and their numbers are torchvision's."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lip_plugin.data.classes import CLASS_FILE, Classes, classes_of_folders, listed_classes
from lip_plugin.data.picture_kinds import Levels
from lip_plugin.data.pictures import PICTURE_SUFFIXES, read_picture
from lip_plugin.errors import DataError
from lip_plugin.schema.report import DataManifest
from lip_plugin.untrusted import few, printable


@dataclass(frozen=True)
class PictureFolder:
    """Pictures of one split. ``names`` are paths below ``root``, one array that worker processes can share."""

    root: Path
    names: npt.NDArray[np.bytes_]
    labels: npt.NDArray[np.int64]
    classes: tuple[str, ...]
    manifest: DataManifest

    def __len__(self) -> int:
        return len(self.labels)

    def path(self, index: int) -> Path:
        return self.root / os.fsdecode(bytes(self.names[index]))

    def name(self, index: int) -> str:
        """See `PictureSource`."""
        return str(self.path(index))

    def read(self, index: int) -> Levels:
        """(H, W, 3) in the order red, green, blue, as deep as it is. Raises DataError, which names the file."""
        return read_picture(self.path(index))


def labelled_files(
    root: Path, files: Sequence[str], labels: Sequence[int], classes: Classes, left_out: Counter[str]
) -> PictureFolder:
    """Files below ``root`` with their class numbers, and what is to be said of the others."""
    names: Any = np.array([os.fsencode(name) for name in files])
    manifest = classes.manifest(len(files), left_out)
    return PictureFolder(root, names, np.array(labels, np.int64), classes.names, manifest)


def folder_classes(root: Path, held_out: str = "val") -> Classes | None:
    """Of ``train/<class>/*`` and ``val/<class>/*``, or ``held_out`` in the place of val; None where there are neither.

    They are numbered by ``classes.txt`` in one of the folders or in ``root``; without it the two must have the same
    class folders, as far as both are there. Raises DataError.
    """
    folders = [root / "train", root / held_out]
    listed = listed_classes(*folders, root)
    if listed is not None:
        return listed
    train, val = (class_folders(folder) for folder in folders)
    if train and val and train != val:
        only_train, only_val = sorted(set(train) - set(val)), sorted(set(val) - set(train))
        raise DataError(
            f"the classes of {folders[0]} and {folders[1]} differ: {few(only_train)} only in train, "
            f"{few(only_val)} only in {held_out}; labels would not agree"
        )
    return classes_of_folders(train or val) if train or val else None


def scan_folder(root: Path, classes: Classes | None = None) -> PictureFolder:
    """Pictures in the order of class folder and path, at any depth, by their suffix.

    ``classes`` is the full list where ``root`` may have a part of it; without it, `classes.txt` in ``root`` or the
    names of the folders number them. Files that are passed over are counted in the manifest. Raises DataError.
    """
    folders = _required_folders(root)
    classes = classes or listed_classes(root) or classes_of_folders(folders)
    numbers = {folder: number for folder in folders if (number := classes.number(folder)) is not None}
    if unknown := [folder for folder in folders if folder not in numbers]:
        listed = f"the list of {len(classes)} classes ({classes.origin})"
        raise DataError(f"{root} has folders that are not in {listed}: {few(unknown)}")
    files: list[str] = []
    labels: list[int] = []
    left_out = _beside(root)
    for folder, number in numbers.items():
        found = list(_pictures(root, folder, left_out))
        if not found:
            raise DataError(f"{root / folder} has no pictures ({', '.join(PICTURE_SUFFIXES)})")
        files += found
        labels += [number] * len(found)
    return labelled_files(root, files, labels, classes, left_out)


def class_folders(root: Path) -> list[str]:
    """Names of the folders in ``root``, sorted, without hidden ones; none where it does not exist."""
    if not root.is_dir():
        return []
    return sorted(entry.name for entry in os.scandir(root) if entry.is_dir() and not entry.name.startswith("."))


def loose_pictures(root: Path) -> list[str]:
    """Names of the pictures that lie in ``root`` itself, sorted; none where it does not exist."""
    if not root.is_dir():
        return []
    return sorted(entry.name for entry in os.scandir(root) if entry.is_file() and left_out_as(entry.name) is None)


def left_out_as(name: str) -> str | None:
    """Why a file of this name is no picture to be read; None for one that is."""
    if name.startswith("."):
        return "hidden"
    if name.lower().endswith(PICTURE_SUFFIXES):
        return None
    return f"of the kind {printable(os.path.splitext(name)[1].lower(), longest=20) or 'without a suffix'}"


def _required_folders(root: Path) -> list[str]:
    if not root.is_dir():
        raise DataError(f"no folder {root}; expected train/<class>/ and val/<class>/ with pictures")
    folders = class_folders(root)
    if not folders:
        raise DataError(f"{root} has no class folders; expected {root}/<class>/ with pictures")
    return folders


def _beside(root: Path) -> Counter[str]:
    """What lies beside the class folders."""
    beside: Counter[str] = Counter()
    for entry in os.scandir(root):
        if entry.name.startswith("."):
            beside["hidden"] += 1
        elif not entry.is_dir() and entry.name != CLASS_FILE:
            beside["beside the class folders"] += 1
    return beside


def _pictures(root: Path, folder: str, left_out: Counter[str]) -> Iterator[str]:
    """Paths below ``root`` of those in a class folder, in torchvision's order."""
    below_root = len(os.path.join(root, ""))
    for place, names in sorted(_places(os.path.join(root, folder), left_out)):
        for name in sorted(names):
            why = left_out_as(name)
            if why is None:
                yield os.path.join(place, name)[below_root:]
            else:
                left_out[why] += 1


def _places(top: str, left_out: Counter[str]) -> Iterator[tuple[str, list[str]]]:
    """Every folder from ``top`` on with the names of its files; links are followed, hidden folders are not."""

    def unreadable(error: OSError) -> None:
        raise DataError(f"cannot read {error.filename}: {error.strerror or error}") from error

    for place, below, names in os.walk(top, followlinks=True, onerror=unreadable):
        left_out["hidden"] += sum(name.startswith(".") for name in below)
        below[:] = [name for name in below if not name.startswith(".")]
        _refuse_circle(place, below)
        yield place, names


def _refuse_circle(place: str, below: Sequence[str]) -> None:
    here = os.path.realpath(place)
    for name in below:
        link = os.path.join(place, name)
        if os.path.islink(link) and os.path.commonpath([here, (target := os.path.realpath(link))]) == target:
            raise DataError(f"{link} leads back to {target}, which holds it; remove the link")
