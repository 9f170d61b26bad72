"""Disjoint patches through one orthogonal matrix: a stem, a downsampling or a neck that keeps norms."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from lip_plugin.models.layers.neck import patch_padding
from lip_plugin.models.layers.orthogonal import MatrixName, orthonormal
from lip_plugin.network import Conv, MinMax, Operator, minmax


class Patches(nn.Module):
    """Disjoint patches of p x p pixels, each through one matrix, then MinMax: orthonormal rows, or columns if fewer.

    Space-to-depth and a 1x1 convolution in one. Where patches do not tile the map it is zero-padded first. ``matrix``
    names the parametrisation of the matrix.
    """

    def __init__(self, channels: int, size: int, outputs: int, patch: int, *, matrix: MatrixName = "cholesky") -> None:
        super().__init__()
        self.matrix: MatrixName = matrix
        self.patch, self.padding = patch, patch_padding(size, patch)
        self.output_size = (size + sum(self.padding)) // patch
        self.weight = nn.Parameter(nn.init.orthogonal_(torch.empty(outputs, channels * patch**2)))
        self.bias = nn.Parameter(torch.zeros(outputs))

    def merged_kernel(self) -> Tensor:
        """(O, I, p, p)"""
        matrix = orthonormal(self.weight, self.matrix)
        return rearrange(matrix, "o (i kh kw) -> o i kh kw", kh=self.patch, kw=self.patch)

    def forward(self, x: Tensor) -> Tensor:
        return minmax(F.conv2d(F.pad(x, self.padding * 2), self.merged_kernel(), self.bias, stride=self.patch))

    def freeze(self) -> tuple[Operator, ...]:
        stride = (self.patch, self.patch)
        return Conv(self.merged_kernel(), self.bias, stride=stride, padding=(*self.padding, *self.padding)), MinMax()
