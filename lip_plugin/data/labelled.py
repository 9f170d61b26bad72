"""What an evaluation needs of a data set: a block of images at a time, in file order."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lip_plugin.data.images import ImageSet
from lip_plugin.errors import DataError
from lip_plugin.schema.report import DataManifest


class LabelledImages(Protocol):
    """A split of a data set, in memory (`ImageSet`) or decoded as it is read (`PictureSet`)."""

    @property
    def labels(self) -> npt.NDArray[np.int64]: ...
    @property
    def name(self) -> str: ...
    @property
    def source(self) -> str: ...
    @property
    def split(self) -> str: ...
    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W)"""
        ...

    @property
    def num_classes(self) -> int | None:
        """Classes of the data set, of which some may have no image here; None where nothing says."""
        ...

    @property
    def manifest(self) -> DataManifest | None:
        """Which files they were taken from; None where they are arrays."""
        ...

    def __len__(self) -> int: ...

    def part(self, index: npt.NDArray[np.int64]) -> LabelledImages:
        """The images that ``index`` (M,) names, in its order."""
        ...

    def first(self, count: int | None) -> LabelledImages:
        """The first ``count`` images in file order. Raises DataError where there are fewer."""
        ...

    def blocks(
        self, size: int, dtype: torch.dtype, *, first: int = 0, step: int = 1
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Every ``step``-th block of ``size`` images from block ``first`` on; the last one may be smaller.

        x (B, C, H, W) in [0,1] and y (B,) int64, on the CPU. Raises DataError on an unreadable picture.
        """
        ...


def load_into_memory(images: LabelledImages) -> ImageSet:
    """All pixels at once, as uint8 where they are decoded. Raises DataError for pixels that are no such levels."""
    if isinstance(images, ImageSet):
        return images
    blocks = [(_levels(x, images.source), y) for x, y in images.blocks(256, torch.float32)]
    pixels, labels = (torch.cat(column).numpy() for column in zip(*blocks, strict=True))
    return ImageSet(pixels, labels, images.name, images.source, images.split, images.num_classes, images.manifest)


def _levels(x: Tensor, source: str) -> Tensor:
    levels = x.mul(255).round().to(torch.uint8)
    if not torch.equal(levels.to(x.dtype) / 255, x):
        raise DataError(f"{source}: a picture of more than 8 bits a channel; in memory 8 are held, save it with them")
    return levels
