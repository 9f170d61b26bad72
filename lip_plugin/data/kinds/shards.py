"""``shards:DIR``: WebDataset shards, in ``DIR`` itself or in ``DIR/train`` and ``DIR/val`` (or ``test``)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lip_plugin.data.kinds.pictures import OwnPictures
from lip_plugin.data.own import refuse_others

if TYPE_CHECKING:
    from lip_plugin.data.classes import Classes
    from lip_plugin.data.shards import PictureShards


class Shards(OwnPictures):
    """See `find_shards`."""

    kind = "shards"

    def has(self, split: str) -> bool:
        return bool([*(self.root / split).glob("*.tar"), *self.root.glob(f"*{split}*.tar")])

    def find(self, split: str, classes: Classes | None) -> PictureShards:
        from lip_plugin.data.classes import listed_classes
        from lip_plugin.data.find import find_held_out_shards, find_shards
        from lip_plugin.data.shards import index_shards

        if split == "train":
            return find_shards(self.root, self.held_out or "val")[0]
        if split:
            return find_held_out_shards(self.root, split, classes)
        return index_shards(sorted(self.root.glob("*.tar")), classes or listed_classes(self.root))


def make_images(place: str, settings: Mapping[str, Any]) -> Shards:
    """Settings: ``size`` and ``channels``, see `OwnPictures`."""
    refuse_others(settings, ("size", "channels"), Shards.kind)
    return Shards(Path(place), **settings)
