"""Some pictures of a source, as a source."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from lip_plugin.data.picture_kinds import Levels
from lip_plugin.data.pictures import PictureSource
from lip_plugin.schema.report import DataManifest


@dataclass(frozen=True)
class SelectedPictures:
    """The pictures that ``index`` (N,) names, in its order; the classes stay those of the whole."""

    pictures: PictureSource
    index: npt.NDArray[np.int64]

    @cached_property  # asked for picture by picture
    def labels(self) -> npt.NDArray[np.int64]:
        return self.pictures.labels[self.index]

    @property
    def classes(self) -> tuple[str, ...]:
        return self.pictures.classes

    @property
    def manifest(self) -> DataManifest | None:
        """Of the whole."""
        return self.pictures.manifest

    def __len__(self) -> int:
        return len(self.index)

    def name(self, index: int) -> str:
        """See `PictureSource`."""
        return self.pictures.name(int(self.index[index]))

    def read(self, index: int) -> Levels:
        """As `PictureSource.read`."""
        return self.pictures.read(int(self.index[index]))
