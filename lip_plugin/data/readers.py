"""How a data set's files become labelled images: at once, or picture by picture. Imports no torch by itself."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, TypeAlias

from lip_plugin.errors import DataError

if TYPE_CHECKING:
    from lip_plugin.data.images import Pixels
    from lip_plugin.data.labelled import LabelledImages
    from lip_plugin.data.pictures import PictureSource
    from lip_plugin.schema.report import DataManifest

    ArrayPair: TypeAlias = tuple[Pixels, Pixels]


logger = logging.getLogger(__name__)


def tell(manifest: DataManifest | None, which: str) -> None:
    """One line on what was found; louder where something was passed over."""
    if manifest is not None:
        logger.log(logging.WARNING if manifest.left_out else logging.INFO, "%s: %s", which, manifest.in_words)


@dataclass(frozen=True)
class Cut:
    """How pictures of any size are cut: shorter side to ``resize`` pixels, then ``crop`` x ``crop`` in the middle.

    ``workers`` processes decode; 0 is the one that reads. ``channels`` are those of the network that will see them.
    """

    crop: int = 224
    resize: int = 256
    workers: int = 0
    channels: int = 3


class Reader(ABC):
    """Reads the "train" and the "test" split of a data set out of a folder. ``in_memory``: as an `ImageSet`."""

    in_memory: ClassVar[bool]

    @abstractmethod
    def images(self, name: str, num_classes: int, directory: Path, split: str, cut: Cut) -> LabelledImages:
        """``name`` and ``num_classes`` are those of the record. Raises DataError, which says what was looked for."""


@dataclass(frozen=True)
class Arrays(Reader):
    """A set that is held in memory.

    ``read(directory, split)`` gives images (N, C, H, W), uint8 in 0..255 or float in [0,1], and labels (N,) from 0.
    ``count_classes(directory)`` says how many classes a folder holds, where that may be fewer than the record's.
    """

    read: Callable[[Path, str], ArrayPair]
    count_classes: Callable[[Path], int] | None = None

    in_memory = True

    def images(self, name: str, num_classes: int, directory: Path, split: str, cut: Cut) -> LabelledImages:
        import numpy as np  # neither it nor torch is needed to list data sets

        from lip_plugin.data.images import checked_image_set

        try:
            pixels, labels = (np.asarray(array) for array in self.read(directory, split))
        except (OSError, EOFError, ValueError) as error:
            raise DataError(f"cannot read {name} in {directory}: {error}") from error
        return checked_image_set(
            pixels,
            labels,
            name=name,
            source=f"{name} {split} split",
            split=split,
            num_classes=num_classes if self.count_classes is None else self.count_classes(directory),
        )


@dataclass(frozen=True)
class Pictures(Reader):
    """A set of pictures of any size, decoded as they are needed; its classes are those of the files.

    ``read(directory, split)`` gives a `PictureSource`; the test split is called ``test_folder``.
    """

    read: Callable[[Path, str], PictureSource]
    test_folder: str = "val"

    in_memory = False

    def images(self, name: str, num_classes: int, directory: Path, split: str, cut: Cut) -> LabelledImages:
        from lip_plugin.data.picture_set import PictureSet  # as above

        folder = self.test_folder if split == "test" else split
        source = f"{name} {folder} split, shorter side {cut.resize}, {cut.crop}x{cut.crop} in the middle"
        pictures = self.read(directory, split)
        tell(pictures.manifest, f"{name} {folder}")
        return PictureSet(pictures, name, source, split, crop=cut.crop, resize=cut.resize, workers=cut.workers)
