"""What ``folder:DIR`` and ``shards:DIR`` have in common: pictures of any size, and a folder for each split."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
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
    """``size``: shorter side to so many pixels, then the square in the middle; training holds such images in memory."""

    root: Path
    size: int | None = None

    kind: ClassVar[str]

    def __post_init__(self) -> None:
        if self.size is not None and (type(self.size) is not int or self.size < 1):
            raise ConfigError(f"{self.kind}: size={self.size!r}; expected a number of pixels from 1")

    def images(self, split: str, cut: Cut, classes: tuple[str, ...] = ()) -> LabelledImages:
        """See `OwnImages`."""
        from lip_plugin.data.classes import Classes
        from lip_plugin.data.labelled import load_into_memory
        from lip_plugin.data.picture_set import PictureSet

        if not self.root.is_dir():
            raise DataError(f"no folder {self.root}; expected {self.kind}:DIR with pictures")
        cut = cut if self.size is None else Cut(self.size, self.size, cut.workers)
        folder = "train" if split == "train" else self.held_out
        if not folder and self.has("train"):
            raise DataError(f"{self.root} has train, and neither test nor val; expected one of them beside it")
        pictures = self.find(folder, Classes(classes, "the model's card") if classes else None)
        called = place_name(self.root)
        name = f"{self.kind}:{called}{f' ({folder})' if folder else ''}"
        tell(pictures.manifest, name)
        source = f"{name}, shorter side {cut.resize}, {cut.crop}x{cut.crop} in the middle"
        images = PictureSet(pictures, called, source, split, cut.crop, cut.resize, cut.workers)
        return load_into_memory(images) if split == "train" and self.size is not None else images

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
