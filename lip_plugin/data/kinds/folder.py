"""``folder:DIR``: class folders of pictures, in ``DIR`` itself or in ``DIR/train`` and ``DIR/val`` (or ``test``)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lip_plugin.data.kinds.pictures import OwnPictures
from lip_plugin.data.own import refuse_others

if TYPE_CHECKING:
    from lip_plugin.data.classes import Classes
    from lip_plugin.data.folders import PictureFolder


class Folder(OwnPictures):
    """See `find_folders`."""

    kind = "folder"

    def has(self, split: str) -> bool:
        return (self.root / split).is_dir()

    def find(self, split: str, classes: Classes | None) -> PictureFolder:
        from lip_plugin.data.find import find_held_out_folder
        from lip_plugin.data.folders import folder_classes, scan_folder

        if split == "train":
            return scan_folder(self.root / split, classes or folder_classes(self.root, self.held_out or "val"))
        return find_held_out_folder(self.root, split, classes) if split else scan_folder(self.root, classes)


def make_images(place: str, settings: Mapping[str, Any]) -> Folder:
    """Settings: ``size`` and ``channels``, see `OwnPictures`."""
    refuse_others(settings, ("size", "channels"), Folder.kind)
    return Folder(Path(place), **settings)
