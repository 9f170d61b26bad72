"""Labelled images in memory: uint8 or float pixels, checked once, converted block by block."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lip_plugin.errors import DataError
from lip_plugin.schema.report import DataManifest

Pixels = npt.NDArray[np.generic]


@dataclass(frozen=True)
class ImageSet:
    """Images (N, C, H, W), uint8 in 0..255 or float in [0,1], with labels (N,) int64."""

    pixels: Pixels
    labels: npt.NDArray[np.int64]
    name: str
    source: str
    split: str = "test"
    num_classes: int | None = None
    """Classes of the data set, of which some may have no image here; None where nothing says."""
    manifest: DataManifest | None = None
    """Which files they were taken from; None where they were arrays."""

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W)"""
        _, channels, height, width = self.pixels.shape
        return channels, height, width

    def first(self, count: int | None) -> ImageSet:
        """The first ``count`` images in file order. Raises DataError where there are fewer."""
        if count is None:
            return self
        check_count(count, len(self), self.source)
        return dataclasses.replace(self, pixels=self.pixels[:count], labels=self.labels[:count])

    def part(self, index: npt.NDArray[np.int64]) -> ImageSet:
        """The images that ``index`` (M,) names, in its order."""
        return dataclasses.replace(self, pixels=self.pixels[index], labels=self.labels[index])

    def blocks(
        self, size: int, dtype: torch.dtype, *, first: int = 0, step: int = 1
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Every ``step``-th block of ``size`` images from block ``first`` on, converted one at a time."""
        for start in range(first * size, len(self), step * size):
            part = slice(start, start + size)
            yield dataclasses.replace(self, pixels=self.pixels[part], labels=self.labels[part]).tensors(dtype)

    def tensors(self, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """(x (N, C, H, W) in [0,1], y (N,) int64)."""
        x = torch.from_numpy(np.array(self.pixels))
        return (x.to(dtype) / 255 if x.dtype == torch.uint8 else x.to(dtype)), torch.from_numpy(self.labels.copy())


def check_count(count: int, available: int, source: str) -> None:
    """Raises DataError."""
    if not 1 <= count <= available:
        raise DataError(f"asked for {count} images; {source} has {available}, give 1 to {available}")


def checked_image_set(
    pixels: Pixels, labels: Pixels, *, name: str, source: str, split: str = "test", num_classes: int | None = None
) -> ImageSet:
    """Validate arrays that came from a file. Raises DataError with one line that says what is wrong."""
    if pixels.ndim == 3:
        pixels = pixels[:, None]
    if pixels.ndim != 4 or labels.shape != pixels.shape[:1] or 0 in pixels.shape:
        raise DataError(
            f"{source}: images have shape {pixels.shape} and labels {labels.shape}; "
            "expected (N, C, H, W) and (N,), N >= 1"
        )
    if not np.issubdtype(labels.dtype, np.integer):
        raise DataError(f"{source}: labels are {labels.dtype}; expected integers")
    labels = labels.astype(np.int64)
    if labels.min() < 0:
        raise DataError(f"{source}: label {labels.min()} is negative; expected class numbers from 0")
    if num_classes is not None and labels.max() >= num_classes:
        raise DataError(
            f"{source}: label {labels.max()} is none of {num_classes} classes; expected 0 to {num_classes - 1}"
        )
    if pixels.dtype != np.uint8:
        pixels = _checked_floats(pixels, source)
    return ImageSet(pixels, labels, name, source, split, num_classes)


def _checked_floats(pixels: Pixels, source: str) -> Pixels:
    if not np.issubdtype(pixels.dtype, np.floating) or pixels.dtype.itemsize > 8:
        raise DataError(f"{source}: images are {pixels.dtype}; expected uint8 (0 to 255) or float in [0,1]")
    if not np.isfinite(pixels).all():
        raise DataError(f"{source}: images contain NaN or infinite pixels; expected values in [0,1]")
    low, high = float(pixels.min()), float(pixels.max())
    if low < 0 or high > 1:
        raise DataError(
            f"{source}: pixels span [{low:g}, {high:g}]; expected [0,1] (divide by 255, undo normalisation)"
        )
    return pixels.astype(pixels.dtype.newbyteorder("="), copy=False)
