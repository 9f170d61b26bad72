"""Circular convolutions whose matrix at every frequency is made orthogonal: what Cayley, LOT and SOC layers share.

A circular convolution over an n x n map multiplies the Fourier coefficients of the channels at every frequency by a
matrix (C, C), its symbol. Orthogonal matrices make an orthogonal convolution, whose kernel is as large as the map in
general: it is kept as its symbol, in training and frozen.
"""

from __future__ import annotations

from abc import abstractmethod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lip_plugin.models.layers.blocks.base import Block, full_precision, rotation_kernel
from lip_plugin.network import Conv, FrequencyMatrix, MinMax, Offset, Operator, minmax


class CircularBlock(Block):
    """An orthogonal circular convolution with bias, then MinMax. A subclass says how a matrix becomes orthogonal."""

    def __init__(self, channels: int, size: int, kernel: int) -> None:
        super().__init__(channels, size, min(kernel, size))
        self.weight = nn.Parameter(rotation_kernel(channels, self.kernel))
        self.bias = nn.Parameter(torch.zeros(channels))

    @abstractmethod
    def orthogonal(self, matrices: Tensor) -> Tensor:
        """(F, C, C) -> (F, C, C), real or complex; what it makes of the conjugate is the conjugate."""

    def symbol(self) -> Tensor:
        """(F, C, C) of the kernel that acts, over half the frequencies; real on a map of one pixel."""
        if self.size == 1:
            return self.orthogonal(self.weight.flatten(2).permute(2, 0, 1))
        room, middle = self.size - self.kernel, self.kernel // 2
        placed = F.pad(self.weight, (0, room, 0, room)).roll((-middle, -middle), (2, 3))
        spectrum = torch.fft.rfft2(placed).conj()  # conv2d is a correlation
        return self.orthogonal(spectrum.flatten(2).permute(2, 0, 1))

    def forward(self, x: Tensor) -> Tensor:
        with full_precision(self.weight):
            x, symbol = x.to(self.weight.dtype), self.symbol()
            if self.size == 1:
                y = torch.einsum("foi,bihw->bohw", symbol, x)
            else:
                spectrum = torch.fft.rfft2(x)
                images = torch.einsum("foi,bif->bof", symbol, spectrum.flatten(2)).reshape(spectrum.shape)
                y = torch.fft.irfft2(images, s=(self.size, self.size))
            return minmax(y + self.bias[:, None, None])

    def freeze(self) -> tuple[Operator, ...]:
        with full_precision(self.weight):
            symbol = self.symbol()
        if self.size == 1:
            return Conv(symbol[0, :, :, None, None], self.bias), MinMax()
        matrix = torch.cat([symbol.real, symbol.imag], 1).unflatten(0, (self.size, self.size // 2 + 1))
        return FrequencyMatrix(matrix), Offset(self.bias), MinMax()
