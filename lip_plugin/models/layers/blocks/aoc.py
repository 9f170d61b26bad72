"""AOC at stride 1, which is BCOP: an orthogonal circular convolution whose kernel is no larger than asked for.

Sources: see `lip_plugin.models.layers.adaptive_conv`.
"""

from __future__ import annotations

from torch import Tensor

from lip_plugin.models.layers.adaptive_conv import AdaptiveOrthogonalConv
from lip_plugin.models.layers.blocks.base import Block
from lip_plugin.network import Operator


class AocBlock(Block):
    """A matrix (C, C) and 2 (k - 1) pieces, all made orthogonal by Bjorck's iteration."""

    def __init__(self, channels: int, size: int, kernel: int) -> None:
        super().__init__(channels, size, kernel)
        self.conv = AdaptiveOrthogonalConv(channels, size, channels, 1, kernel=kernel, matrix="bjorck")

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x)
        return y

    def freeze(self) -> tuple[Operator, ...]:
        return self.conv.freeze()
