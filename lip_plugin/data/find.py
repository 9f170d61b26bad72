"""Where the pictures of a data set lie: class folders, or WebDataset shards."""

from __future__ import annotations

from pathlib import Path

from lip_plugin.data.folders import class_folders, scan_folder, scan_splits
from lip_plugin.data.pictures import PictureSource
from lip_plugin.data.shards import index_shards, read_class_names
from lip_plugin.errors import DataError

_CLASS_FILE = "classes.txt"


def find_pictures(root: Path) -> tuple[PictureSource, PictureSource]:
    """(train, val) with the same classes, from one of these, folders first:

    - ``train/<class>/*`` and ``val/<class>/*``
    - ``train/*.tar`` and ``val/*.tar``, or ``*train*.tar`` and ``*val*.tar`` in ``root`` itself; the names of
      the classes in ``classes.txt`` beside the training shards or in ``root``, if there is one

    Raises DataError saying what was looked for.
    """
    if class_folders(root / "train") or class_folders(root / "val"):
        return scan_splits(root)
    train_shards, val_shards = (_required_shards(root, split) for split in ("train", "val"))
    train = index_shards(train_shards, _class_names(root, train_shards))
    return train, index_shards(val_shards, train.classes)


def find_val(root: Path) -> PictureSource:
    """The second of `find_pictures`; the training pictures may be missing.

    Their shards are not read where ``classes.txt`` says how many classes there are.
    """
    if class_folders(root / "val") and not class_folders(root / "train"):
        return scan_folder(root / "val")
    if class_folders(root / "train"):
        return find_pictures(root)[1]
    shards = _required_shards(root, "val")
    classes = _class_names(root, shards)
    if classes is None and _shards(root, "train"):
        return find_pictures(root)[1]
    return index_shards(shards, classes)


def _required_shards(root: Path, split: str) -> list[Path]:
    found = _shards(root, split)
    if not found:
        raise DataError(
            f"no {split} pictures in {root}; looked for {split}/<class>/*, {split}/*.tar and *{split}*.tar "
            "(uncompressed shards)"
        )
    return found


def _shards(root: Path, split: str) -> list[Path]:
    inside = sorted((root / split).glob("*.tar"))
    if inside:
        return inside
    beside = sorted(root.glob(f"*{split}*.tar"))
    both = [path for path in beside if "train" in path.name and "val" in path.name]
    if both:
        raise DataError(f"{both[0]} may belong to train or to val; put the shards into folders train and val")
    return beside


def _class_names(root: Path, shards: list[Path]) -> tuple[str, ...] | None:
    for folder in (shards[0].parent, root):
        if (folder / _CLASS_FILE).is_file():
            return read_class_names(folder / _CLASS_FILE)
    return None
