"""Necks: from the last feature map to a feature vector."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from lip_plugin.errors import ConfigError
from lip_plugin.models.layers.cholesky import cholesky_orthogonal
from lip_plugin.models.layers.minmax import MinMax


def patch_padding(size: int, patch: int) -> tuple[int, int]:
    """(before, after): zeros that let patches tile a map of this size, so that no pixel is dropped."""
    missing = -size % patch
    return missing // 2, missing - missing // 2


class PlainNeck(nn.Module):
    """NeurIPS neck: conv 4x4 stride 4, W -> 2W, MinMax, flatten, linear -> D, MinMax; no orthogonality."""

    patch = 4

    def __init__(self, width: int, map_size: int, dense_width: int) -> None:
        super().__init__()
        if map_size < self.patch:
            raise ConfigError(
                f"the neck needs a map of at least {self.patch}x{self.patch}, got {map_size}: larger images"
            )
        self.conv = nn.Conv2d(width, 2 * width, self.patch, self.patch)
        self.linear = nn.Linear(2 * width * (map_size // self.patch) ** 2, dense_width)
        self.activation = MinMax()

    def forward(self, x: Tensor) -> Tensor:
        x = self.activation(self.conv(x))
        return self.activation(self.linear(x.flatten(1)))


class OrthogonalNeck(nn.Module):
    """ICLR 2024 neck: patch conv W -> W without bias, flatten, linear -> D with bias, MinMax.

    Both maps are Cholesky-orthogonal. Where patches do not tile the map it is zero-padded first:
    windows stay disjoint, so the norm of the kernel matrix still bounds the convolution.
    """

    def __init__(self, width: int, map_size: int, dense_width: int, *, patch: int = 4) -> None:
        super().__init__()
        self.width, self.patch = width, patch
        self.padding = patch_padding(map_size, patch)
        side = (map_size + sum(self.padding)) // patch
        self.kernel = nn.Parameter(torch.empty(width, width * patch**2))
        self.weight = nn.Parameter(torch.empty(dense_width, width * side**2))
        self.bias = nn.Parameter(torch.zeros(dense_width))
        nn.init.orthogonal_(self.kernel)
        nn.init.orthogonal_(self.weight)
        self.activation = MinMax()

    def merged_kernel(self) -> Tensor:
        """(W, W, patch, patch)"""
        return rearrange(cholesky_orthogonal(self.kernel), "o (i kh kw) -> o i kh kw", kh=self.patch, kw=self.patch)

    def merged_weight(self) -> Tensor:
        """(D, W side^2)"""
        return cholesky_orthogonal(self.weight)

    def forward(self, x: Tensor) -> Tensor:
        x = F.conv2d(F.pad(x, self.padding * 2), self.merged_kernel(), stride=self.patch)
        return self.activation(F.linear(x.flatten(1), self.merged_weight(), self.bias))
