"""Pictures for a network of one channel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lip_plugin.data.picture_kinds import Levels
from lip_plugin.data.pictures import PictureSource
from lip_plugin.errors import DataError
from lip_plugin.schema.report import DataManifest

_WEIGHTS = np.array([19595, 38470, 7471], np.uint32)  # of red, green and blue in 2^16: Pillow's ITU-R 601


@dataclass(frozen=True)
class GreyPictures:
    """Grey pictures of a source with the levels that they have. ``convert``: colours become grey as by Pillow."""

    pictures: PictureSource
    convert: bool = False

    @property
    def labels(self) -> npt.NDArray[np.int64]:
        return self.pictures.labels

    @property
    def classes(self) -> tuple[str, ...]:
        return self.pictures.classes

    @property
    def manifest(self) -> DataManifest | None:
        return self.pictures.manifest

    def __len__(self) -> int:
        return len(self.pictures)

    def name(self, index: int) -> str:
        """See `PictureSource`."""
        return self.pictures.name(index)

    def read(self, index: int) -> Levels:
        """(H, W, 1), as deep as it is. Raises DataError, also for a picture in colours that is not to be converted."""
        levels = self.pictures.read(index)
        if (levels == levels[:, :, :1]).all():
            return levels[:, :, :1]
        if not self.convert:
            raise DataError(
                f"cannot use {self.name(index)}: it is in colours, and the network takes one channel; with "
                "channels=1 (DIR?channels=1, DIR?size=28&channels=1) it becomes grey as in Pillow"
            )
        return ((levels @ _WEIGHTS + 2**15) >> 16).astype(np.uint8)[:, :, None]
