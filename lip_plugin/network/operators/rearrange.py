"""Operators that only move entries: isometries, exact in floating point."""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from lip_plugin.bounds import NormBound
from lip_plugin.errors import UnsupportedLayerError
from lip_plugin.network.operators.base import require_ints, require_map
from lip_plugin.network.operators.entrywise import Selecting
from lip_plugin.network.operators.plain_layer import PlainLayer
from lip_plugin.types import Shape


@dataclass(frozen=True, eq=False)
class _Rearrangement(Selecting):
    """A bijection of entries."""

    @abstractmethod
    def output_shape(self, input_shape: Shape) -> Shape: ...

    def _no_images(self, x: Tensor) -> Tensor:
        """(0, *input_shape) -> (0, *output_shape): torch's own calls return an empty batch in its old shape."""
        return x.new_empty(0, *self.output_shape(tuple(x.shape[1:])))

    def lipschitz_upper_bound(self, input_shape: Shape) -> NormBound:
        return NormBound(1.0, "permutation")


@dataclass(frozen=True, eq=False)
class Flatten(_Rearrangement):
    """(C, H, W) -> (C*H*W,)"""

    kind: ClassVar[str] = "flatten"

    def apply(self, x: Tensor) -> Tensor:
        return x.flatten(1)

    def output_shape(self, input_shape: Shape) -> Shape:
        return (math.prod(input_shape),)

    def plain_layer(self, input_shape: Shape) -> PlainLayer:
        return PlainLayer("{x}.flatten(1)")

    def describe(self) -> str:
        return "flatten"


@dataclass(frozen=True, eq=False)
class PixelUnshuffle(_Rearrangement):
    """(C, H r, W r) -> (C r^2, H, W)"""

    kind: ClassVar[str] = "pixel_unshuffle"

    factor: int

    def __post_init__(self) -> None:
        require_ints((self.factor,), "factor", 1, 1)

    def apply(self, x: Tensor) -> Tensor:
        return F.pixel_unshuffle(x, self.factor) if len(x) else self._no_images(x)

    def output_shape(self, input_shape: Shape) -> Shape:
        channels, height, width = require_map(input_shape, self.kind)
        if height % self.factor or width % self.factor:
            raise UnsupportedLayerError(f"pixel_unshuffle by {self.factor} does not divide shape {input_shape}")
        return (channels * self.factor**2, height // self.factor, width // self.factor)

    def plain_layer(self, input_shape: Shape) -> PlainLayer:
        return PlainLayer(f"F.pixel_unshuffle({{x}}, {self.factor})")

    def describe(self) -> str:
        return f"{self.factor}x{self.factor} pixels to channels"


@dataclass(frozen=True, eq=False)
class PixelShuffle(_Rearrangement):
    """(C r^2, H, W) -> (C, H r, W r)"""

    kind: ClassVar[str] = "pixel_shuffle"

    factor: int

    def __post_init__(self) -> None:
        require_ints((self.factor,), "factor", 1, 1)

    def apply(self, x: Tensor) -> Tensor:
        return F.pixel_shuffle(x, self.factor) if len(x) else self._no_images(x)

    def output_shape(self, input_shape: Shape) -> Shape:
        channels, height, width = require_map(input_shape, self.kind)
        if channels % self.factor**2:
            raise UnsupportedLayerError(f"pixel_shuffle by {self.factor} does not divide shape {input_shape}")
        return (channels // self.factor**2, height * self.factor, width * self.factor)

    def plain_layer(self, input_shape: Shape) -> PlainLayer:
        return PlainLayer(f"F.pixel_shuffle({{x}}, {self.factor})")

    def describe(self) -> str:
        return f"channels to {self.factor}x{self.factor} pixels"


@dataclass(frozen=True, eq=False)
class ChannelShuffle(_Rearrangement):
    """Channels (g n) -> (n g)."""

    kind: ClassVar[str] = "channel_shuffle"

    groups: int

    def __post_init__(self) -> None:
        require_ints((self.groups,), "groups", 1, 1)

    def apply(self, x: Tensor) -> Tensor:
        return rearrange(x, "b (g n) ... -> b (n g) ...", g=self.groups)

    def output_shape(self, input_shape: Shape) -> Shape:
        if input_shape[0] % self.groups:
            raise UnsupportedLayerError(f"channel_shuffle by {self.groups} does not divide shape {input_shape}")
        return input_shape

    def plain_layer(self, input_shape: Shape) -> PlainLayer:
        return PlainLayer(f"{{x}}.unflatten(1, ({self.groups}, -1)).transpose(1, 2).flatten(1, 2)")

    def describe(self) -> str:
        return f"channel shuffle, {self.groups} groups"


@dataclass(frozen=True, eq=False)
class Reshape(_Rearrangement):
    """The same entries in the same order, in another shape."""

    kind: ClassVar[str] = "reshape"

    shape: tuple[int, ...]

    def __post_init__(self) -> None:
        require_ints(self.shape, "shape", len(self.shape), 1)

    def apply(self, x: Tensor) -> Tensor:
        return x.reshape(-1, *self.shape)

    def output_shape(self, input_shape: Shape) -> Shape:
        if math.prod(input_shape) != math.prod(self.shape):
            raise UnsupportedLayerError(f"reshape to {self.shape} does not fit shape {input_shape}")
        return self.shape

    def plain_layer(self, input_shape: Shape) -> PlainLayer:
        return PlainLayer(f"{{x}}.reshape(-1, {', '.join(map(str, self.shape))})")

    def describe(self) -> str:
        return f"reshape to {'x'.join(map(str, self.shape))}"
