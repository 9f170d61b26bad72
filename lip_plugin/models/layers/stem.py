"""The first convolution, chosen by image size."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lip_plugin import network
from lip_plugin.errors import ConfigError
from lip_plugin.models.layers.minmax import MinMax
from lip_plugin.models.layers.patches import Patches
from lip_plugin.network import Conv, Offset, Operator


@dataclass(frozen=True)
class StemGeometry:
    """Kernel side, stride and zero padding of a stem; the same in both directions."""

    kernel: int
    stride: int
    padding: int

    def output_size(self, size: int) -> int:
        return (size + 2 * self.padding - self.kernel) // self.stride + 1


_STRIDE_2 = StemGeometry(kernel=5, stride=2, padding=2)
_STRIDE_4 = StemGeometry(kernel=7, stride=4, padding=3)
_PATCHIFY_FROM = 128


def stem_geometry(input_shape: tuple[int, int, int], width: int, *, stride_4_at_64: bool) -> StemGeometry:
    """5x5 stride 2 for small images, patches that keep W = C P^2 for large ones.

    The NeurIPS model takes 7x7 stride 4 for 64x64 images, the ICLR 2024 one 5x5 stride 2.
    """
    channels, height, size = input_shape
    if height != size:
        raise ConfigError(f"input_shape {input_shape} is not square; the stems are defined for square images")
    if size >= _PATCHIFY_FROM:
        patch = max(1, round((width / channels) ** 0.5))
        return StemGeometry(kernel=patch, stride=patch, padding=0)
    return _STRIDE_4 if stride_4_at_64 and size == 64 else _STRIDE_2


class Stem(nn.Module):
    """x (B, C, H, W) in [0,1] -> (B, width, H', W'): subtract 0.5, convolve, MinMax."""

    offset = -0.5
    estimated = True
    """Training estimates its norm; where not it counts as 1."""

    def __init__(self, channels: int, width: int, geometry: StemGeometry) -> None:
        super().__init__()
        self.geometry = geometry
        self.conv = nn.Conv2d(channels, width, geometry.kernel, geometry.stride, geometry.padding)
        nn.init.orthogonal_(self.conv.weight)
        self.activation = MinMax()

    def forward(self, x: Tensor) -> Tensor:
        conv = self.conv
        return self.activation(F.conv2d(x + self.offset, conv.weight, conv.bias, conv.stride, conv.padding))

    def freeze(self) -> tuple[Operator, ...]:
        """The same map as plain operators; gradient flows to the parameters."""
        conv, stride, border = self.conv, self.geometry.stride, self.geometry.padding
        kernel = Conv(conv.weight, conv.bias, stride=(stride, stride), padding=(border, border, border, border))
        return _offset(self.offset, conv.weight), kernel, network.MinMax()


class PatchStem(nn.Module):
    """x (B, C, H, W) in [0,1] -> (B, width, H / p, W / p): subtract 0.5, space-to-depth, orthonormal columns, MinMax.

    Where `Stem` mixes overlapping windows and shortens most directions, this one keeps all norms (width >= C p^2).
    """

    offset = -0.5
    estimated = False

    def __init__(self, channels: int, size: int, width: int, patch: int) -> None:
        super().__init__()
        self.patches = Patches(channels, size, width, patch)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.patches(x + self.offset)
        return out

    def freeze(self) -> tuple[Operator, ...]:
        return _offset(self.offset, self.patches.weight), *self.patches.freeze()


def _offset(value: float, like: Tensor) -> Offset:
    return Offset(torch.full((), value, dtype=like.dtype, device=like.device))
