"""Tensors that are already there, as a data set."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lip_plugin.errors import DataError


@dataclass(frozen=True)
class GivenImages:
    """x (N, C, H, W) floating in [0,1] and y (N,) integers, as `LabelledImages`; blocks stay on the device of x."""

    x: Tensor
    y: Tensor
    name: str = "unnamed"
    source: str = "given arrays"
    split: str = "test"
    num_classes: int | None = None
    manifest: None = None

    @property
    def labels(self) -> npt.NDArray[np.int64]:
        return self.y.detach().cpu().numpy().astype(np.int64)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W)"""
        _, channels, height, width = self.x.shape
        return channels, height, width

    def __len__(self) -> int:
        return len(self.y)

    def first(self, count: int | None) -> GivenImages:
        """The first ``count`` images. Raises DataError where there are fewer."""
        if count is not None and not 1 <= count <= len(self):
            raise DataError(f"asked for {count} images; {len(self)} are given, ask for 1 to {len(self)}")
        return dataclasses.replace(self, x=self.x[:count], y=self.y[:count])

    def part(self, index: npt.NDArray[np.int64]) -> GivenImages:
        """The images that ``index`` (M,) names, in its order."""
        chosen = torch.from_numpy(index)
        return dataclasses.replace(self, x=self.x[chosen.to(self.x.device)], y=self.y[chosen.to(self.y.device)])

    def blocks(
        self, size: int, dtype: torch.dtype, *, first: int = 0, step: int = 1
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Every ``step``-th block of ``size`` images from block ``first`` on."""
        for start in range(first * size, len(self), step * size):
            part = slice(start, start + size)
            yield self.x[part].detach().to(dtype), self.y[part]
