"""GloRo's layer: a plain convolution, whose norm training estimates by power iteration and penalises through the loss.

Source: Leino, Wang, Fredrikson, "Globally-Robust Neural Networks", ICML 2021 (arXiv 2102.08452), section 3.
"""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lip_plugin.models.layers.blocks.base import Block, rotation_kernel
from lip_plugin.network import Conv, MinMax, Operator, minmax


class ZeroPaddedBlock(Block):
    """A zero-padded convolution with odd kernel and bias, then MinMax; its norm is estimated in training."""

    estimated: ClassVar[bool] = True

    def __init__(self, channels: int, size: int, kernel: int) -> None:
        super().__init__(channels, size, kernel)
        self.weight = nn.Parameter(rotation_kernel(channels, kernel))
        self.bias = nn.Parameter(torch.zeros(channels))

    def merged_weight(self) -> Tensor:
        """(C, C, k, k): the kernel that acts."""
        return self.weight

    def forward(self, x: Tensor) -> Tensor:
        return minmax(F.conv2d(x, self.merged_weight(), self.bias, padding=self.kernel // 2))

    def freeze(self) -> tuple[Operator, ...]:
        around = self.kernel // 2
        return Conv(self.merged_weight(), self.bias, padding=(around, around, around, around)), MinMax()


class GloroBlock(ZeroPaddedBlock):
    """The convolution as it is."""
