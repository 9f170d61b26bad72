"""A split of pictures for evaluation: decoded, resized and cropped as they are asked for, never all in memory."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from einops import rearrange
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from lip_plugin.data.images import check_count
from lip_plugin.data.pictures import PictureSource
from lip_plugin.data.selection import SelectedPictures
from lip_plugin.data.workers import leave_signals_to_the_parent, one_line_errors
from lip_plugin.errors import DataError
from lip_plugin.extras import require
from lip_plugin.schema.report import DataManifest

Transform = Callable[[Tensor], Tensor]
"""(C, H, W) to (C, crop, crop), uint8, or in evaluation float64 in [0,1] too."""


def evaluation_transform(resize: int, crop: int) -> Transform:
    """Shorter side to ``resize`` pixels, then the ``crop`` x ``crop`` pixels in the middle."""
    lib: Any = require("torchvision.transforms.v2")
    return lib.Compose([lib.Resize(resize, antialias=True), lib.CenterCrop(crop)])


@dataclass(frozen=True)
class PictureSet:
    """`LabelledImages` of a source of pictures with so many ``channels``, 3 or 1.

    Sides in pixels; ``workers`` processes decode, 0 is this one.
    """

    pictures: PictureSource
    name: str
    source: str
    split: str = "test"
    crop: int = 224
    resize: int = 256
    workers: int = 0
    channels: int = 3

    def __post_init__(self) -> None:
        if not 1 <= self.crop <= self.resize:
            raise DataError(f"cannot crop {self.crop} pixels out of {self.resize}; expected 1 <= crop <= resize")
        if self.workers < 0:
            raise DataError(f"{self.workers} worker processes; expected 0 or more")

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def labels(self) -> npt.NDArray[np.int64]:
        return self.pictures.labels

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W)"""
        return self.channels, self.crop, self.crop

    @property
    def num_classes(self) -> int:
        return len(self.pictures.classes)

    @property
    def manifest(self) -> DataManifest | None:
        """See `PictureSource`."""
        return self.pictures.manifest

    def first(self, count: int | None) -> PictureSet:
        """The first ``count`` pictures of the source. Raises DataError where there are fewer."""
        if count is None:
            return self
        check_count(count, len(self), self.source)
        return self.part(np.arange(count))

    def part(self, index: npt.NDArray[np.int64]) -> PictureSet:
        """The pictures that ``index`` (M,) names, in its order."""
        return dataclasses.replace(self, pictures=SelectedPictures(self.pictures, index))

    def blocks(
        self, size: int, dtype: torch.dtype, *, first: int = 0, step: int = 1
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """See `LabelledImages`. At most two blocks per worker are decoded ahead."""
        starts = range(first * size, len(self), step * size)
        loader: DataLoader[tuple[Tensor, int]] = DataLoader(
            _Evaluated(self.pictures, evaluation_transform(self.resize, self.crop)),
            batch_sampler=[list(range(start, min(start + size, len(self)))) for start in starts],
            num_workers=self.workers,
            collate_fn=_together,
            worker_init_fn=leave_signals_to_the_parent,
            generator=torch.Generator(),  # else every round would draw from the global one
        )
        with one_line_errors():
            for x, y in loader:
                yield (x.to(dtype) / 255 if x.dtype == torch.uint8 else x.to(dtype)), y


def _together(pairs: list[tuple[Tensor, int]]) -> tuple[Tensor, Tensor]:
    """Bytes where all pictures of a block are, else [0,1] in float64."""
    pictures, labels = zip(*pairs, strict=True)
    if any(picture.dtype != torch.uint8 for picture in pictures):
        pictures = [picture.double() / 255 if picture.dtype == torch.uint8 else picture for picture in pictures]
    return torch.stack([*pictures]), torch.tensor(labels)


class _Evaluated(Dataset[tuple[Tensor, int]]):
    """uint8 pictures of 8 bits a channel; deeper ones, scaled by their 65535, as float64 in [0,1]."""

    def __init__(self, pictures: PictureSource, transform: Transform) -> None:
        self.pictures, self.transform = pictures, transform

    def __getitem__(self, number: int) -> tuple[Tensor, int]:
        levels = self.pictures.read(number)
        scaled = levels if levels.dtype == np.uint8 else levels / 65535
        picture = rearrange(torch.from_numpy(scaled), "h w c -> c h w")
        return self.transform(picture).contiguous(), int(self.pictures.labels[number])
