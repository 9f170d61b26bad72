"""What Square gets to see: images on a square canvas that its L2 start fits, with as few added pixels as can be.

The start lays h // s tiles of side s = h // 5 down and w // s across, from a margin on: it divides by zero for h < 5
and leaves the image for sides such as 12, 14, 18 and 24, which ends in a RuntimeError, as do squares that do not fit
across. Added pixels are black and the network never sees them, but the attack spends its eps on them too: around a
vector (784, 1, 1), 5 x 5 pixels for each entry hid the attack altogether (0 of 16 images broken at 16 times the
radius that broke 16 of 16 as (1, 28, 28)).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

_TILES = 5  # in a column of Square's start
_NARROW = 2  # sides: beyond that a square around an image is mostly empty

Attack = Callable[[nn.Module, Tensor], Tensor]
"""(network, images (B, C, H, W)) -> points (B, C, H, W)."""


def on_canvas(attack: Attack) -> Attack:
    """The attack as one that sees images, and a network of them, on a `Canvas`; its points are images again."""

    def run(network: nn.Module, x: Tensor) -> Tensor:
        channels, height, width = x.shape[1:]
        canvas = Canvas((channels, height, width))
        return canvas.images(attack(_OfCanvas(network, canvas), canvas.of(x)))

    return run


@dataclass(frozen=True)
class Canvas:
    """Images of ``shape`` (C, H, W) on the smallest square that holds them.

    Vectors, rows and tiny maps are laid out entry by entry, since an L2 distance does not ask where an entry lies;
    other images keep their pixels side by side.
    """

    shape: tuple[int, int, int]

    @property
    def size(self) -> tuple[int, int, int]:
        """The images that the attack sees."""
        channels, height, width = self.shape
        if self._is_tiny:
            return 1, *_square(math.isqrt(channels * height * width - 1) + 1)
        return channels, *_square(math.isqrt(height * width - 1) + 1 if self._is_narrow else max(height, width))

    def of(self, x: Tensor) -> Tensor:
        """The images (B, *shape) on it, (B, *size)."""
        channels, height, width = self.size
        if not self._is_laid_out:
            return F.pad(x, (0, width - x.shape[3], 0, height - x.shape[2]))
        entries = x.reshape(len(x), channels, -1)
        return F.pad(entries, (0, height * width - entries.shape[2])).unflatten(2, (height, width))

    def images(self, points: Tensor) -> Tensor:
        """The images (B, *shape) again, of points (B, *size)."""
        _, height, width = self.shape
        if not self._is_laid_out:
            return points[..., :height, :width]
        entries = math.prod(self.shape) // self.size[0]
        return points.flatten(2)[..., :entries].reshape(len(points), *self.shape)

    @property
    def _is_laid_out(self) -> bool:
        return self._is_tiny or self._is_narrow

    @property
    def _is_narrow(self) -> bool:
        _, height, width = self.shape
        return max(height, width) > _NARROW * min(height, width)

    @property
    def _is_tiny(self) -> bool:
        return self.shape[1] * self.shape[2] < _TILES * _TILES


class _OfCanvas(nn.Module):
    """A network of images as one of points on the canvas."""

    def __init__(self, network: nn.Module, canvas: Canvas) -> None:
        super().__init__()
        self.network, self.canvas = network, canvas
        self.eval()

    def forward(self, points: Tensor) -> Tensor:
        logits: Tensor = self.network(self.canvas.images(points))
        return logits


def _square(least: int) -> tuple[int, int]:
    """The smallest square whose start fits, of at least this side."""
    side = next(side for side in itertools.count(max(least, _TILES)) if _start_fits(side))
    return side, side


def _start_fits(side: int) -> bool:
    tile = side // _TILES
    margin = (side - _TILES * tile) // 2
    # Tiles of one pixel that leave the image are empty, which broadcasts.
    return tile == 1 or margin + side // tile * tile <= side
