"""``npz:FILE``: arrays ``x`` and ``y``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lip_plugin.data.own import OwnImages, refuse_others
from lip_plugin.data.readers import Cut

if TYPE_CHECKING:
    from lip_plugin.data.images import ImageSet


@dataclass(frozen=True)
class ArrayFile(OwnImages):
    """A file; for training too one with both splits, or a folder with ``train.npz`` and ``test.npz``."""

    place: Path

    def images(self, split: str, cut: Cut, classes: tuple[str, ...] = ()) -> ImageSet:
        """See `load_npz`. Raises DataError."""
        from lip_plugin.data.datasets import load_npz

        if self.place.is_dir():
            return load_npz(self.place / f"{split}.npz", split=split, alone=True)
        return load_npz(self.place, split=split)


def make_images(place: str, settings: Mapping[str, Any]) -> ArrayFile:
    """It has no settings."""
    refuse_others(settings, (), "npz")
    return ArrayFile(Path(place))
