"""What ``folder:DIR`` and ``shards:DIR`` have in common: pictures of any size, and a folder for each split."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from lip_plugin.data.own import OwnImages, place_name
from lip_plugin.data.readers import Cut, tell
from lip_plugin.errors import ConfigError, DataError

if TYPE_CHECKING:
    from lip_plugin.data.classes import Classes
    from lip_plugin.data.labelled import LabelledImages
    from lip_plugin.data.pictures import PictureSource

_HELD_OUT = ("test", "val")


@dataclass(frozen=True)
class OwnPictures(OwnImages):
    """``size``: shorter side to so many pixels, then the square in the middle; training holds such images in memory.

    ``channels``: 1 makes grey of colours too. Where nothing is said a network of one channel sees grey pictures alone,
    and any other network red, green and blue.
    """

    root: Path
    size: int | None = None
    channels: int | None = None

    kind: ClassVar[str]

    def __post_init__(self) -> None:
        if self.size is not None and (type(self.size) is not int or self.size < 1):
            raise ConfigError(f"{self.kind}: size={self.size!r}; expected a number of pixels from 1")
        if self.channels not in (None, 1, 3) or type(self.channels) is bool:
            raise ConfigError(f"{self.kind}: channels={self.channels!r}; expected 1 (grey) or 3 (red, green, blue)")

    def images(self, split: str, cut: Cut, classes: tuple[str, ...] = ()) -> LabelledImages:
        """See `OwnImages`."""
        from lip_plugin.data.classes import Classes
        from lip_plugin.data.grey import GreyPictures
        from lip_plugin.data.labelled import load_into_memory
        from lip_plugin.data.picture_set import PictureSet

        if not self.root.is_dir():
            raise DataError(f"no folder {self.root}; expected {self.kind}:DIR with pictures")
        if split == "train" and self.channels == 1 and self.size is None:
            raise ConfigError(f"{self.kind}: training streams pictures in colours; give size=S beside channels=1")
        if self.size is not None:
            cut = replace(cut, crop=self.size, resize=self.size)
        folder = "train" if split == "train" else self.held_out
        if not folder and self.has("train"):
            raise DataError(f"{self.root} has train, and neither test nor val; expected one of them beside it")
        pictures = self.find(folder, Classes(classes, "the model's card") if classes else None)
        called = place_name(self.root)
        name = f"{self.kind}:{called}{f' ({folder})' if folder else ''}"
        tell(pictures.manifest, name)
        source = f"{name}, shorter side {cut.resize}, {cut.crop}x{cut.crop} in the middle"
        if (channels := self._channels(cut)) == 1:
            pictures = GreyPictures(pictures, convert=self.channels == 1)
            source += ", grey"
        images = PictureSet(pictures, called, source, split, cut.crop, cut.resize, cut.workers, channels)
        return load_into_memory(images) if split == "train" and self.size is not None else images

    def _channels(self, cut: Cut) -> int:
        asked = cut.channels if self.channels is None else self.channels
        return asked if asked == 1 else 3

    @property
    def held_out(self) -> str:
        """The name of the folder that is not trained on; empty where there is none."""
        return next((name for name in _HELD_OUT if self.has(name)), "")

    @abstractmethod
    def has(self, split: str) -> bool:
        """Whether there are pictures, or a place for them, under this name."""

    @abstractmethod
    def find(self, split: str, classes: Classes | None) -> PictureSource:
        """Those under this name; in the folder itself where it is empty. Raises DataError."""
