"""Where the pictures of a data set lie: class folders, a flat folder with a list, or WebDataset shards."""

from __future__ import annotations

from pathlib import Path

from lip_plugin.data.classes import Classes, listed_classes
from lip_plugin.data.folders import PictureFolder, class_folders, folder_classes, loose_pictures, scan_folder
from lip_plugin.data.listed import read_list
from lip_plugin.data.pictures import PictureSource
from lip_plugin.data.shards import PictureShards, index_shards
from lip_plugin.errors import DataError


def find_pictures(root: Path) -> tuple[PictureSource, PictureSource]:
    """(train, val) with the same classes, from one of these, folders first:

    - ``train/<class>/*`` and ``val/<class>/*``, or the pictures in ``val`` itself and ``val.txt`` with lines
      ``path label``
    - ``train/*.tar`` and ``val/*.tar``, or ``*train*.tar`` and ``*val*.tar`` in ``root`` itself

    ``classes.txt``, beside the pictures or the shards or in ``root``, numbers the classes, if there is one.
    Raises DataError saying what was looked for.
    """
    if class_folders(root / "train") or class_folders(root / "val"):
        return find_folders(root)
    return find_shards(root)


def find_val(root: Path, held_out: str = "val", classes: Classes | None = None) -> PictureSource:
    """The second of `find_pictures`; the training pictures may be missing.

    Their shards are not read where ``classes`` or ``classes.txt`` says how many classes there are.
    """
    if class_folders(root / held_out) or class_folders(root / "train") or loose_pictures(root / held_out):
        return find_held_out_folder(root, held_out, classes)
    return find_held_out_shards(root, held_out, classes)


def find_folders(root: Path, held_out: str = "val") -> tuple[PictureFolder, PictureFolder]:
    """`find_pictures` in folders alone; ``held_out`` is the folder that is not trained on."""
    classes = folder_classes(root, held_out)
    return scan_folder(root / "train", classes), find_held_out_folder(root, held_out, classes)


def find_held_out_folder(root: Path, held_out: str = "val", classes: Classes | None = None) -> PictureFolder:
    """`find_val` in folders alone."""
    classes = classes or folder_classes(root, held_out)
    folder, listed = root / held_out, root / f"{held_out}.txt"
    if class_folders(folder) or not loose_pictures(folder):
        return scan_folder(folder, classes)
    if listed.is_file():
        return read_list(listed, folder, classes)
    raise DataError(
        f"the pictures of {folder} lie directly in it; expected class folders {held_out}/<class>/*, or a list "
        f"{listed} with lines 'path label'"
    )


def find_shards(root: Path, held_out: str = "val") -> tuple[PictureShards, PictureShards]:
    """`find_pictures` in shards alone."""
    train_shards, val_shards = (_required_shards(root, split, held_out) for split in ("train", held_out))
    train = index_shards(train_shards, listed_classes(train_shards[0].parent, root))
    return train, index_shards(val_shards, Classes(train.classes, train.manifest.numbered_by))


def find_held_out_shards(root: Path, held_out: str = "val", classes: Classes | None = None) -> PictureShards:
    """`find_val` in shards alone."""
    shards = _required_shards(root, held_out, held_out)
    classes = classes or listed_classes(shards[0].parent, root)
    if classes is None and _shards(root, "train", held_out):
        return find_shards(root, held_out)[1]
    return index_shards(shards, classes)


def _required_shards(root: Path, split: str, held_out: str) -> list[Path]:
    found = _shards(root, split, held_out)
    if not found:
        raise DataError(
            f"no {split} pictures in {root}; looked for {split}/<class>/*, {split}/*.tar and *{split}*.tar "
            "(uncompressed shards)"
        )
    return found


def _shards(root: Path, split: str, held_out: str) -> list[Path]:
    inside = sorted((root / split).glob("*.tar"))
    if inside:
        return inside
    beside = sorted(root.glob(f"*{split}*.tar"))
    both = [path for path in beside if "train" in path.name and held_out in path.name]
    if both:
        raise DataError(f"{both[0]} may belong to train or to {held_out}; put the shards into folders of these names")
    return beside
