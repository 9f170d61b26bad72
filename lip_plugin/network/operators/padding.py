"""Operators that repeat pixels: padding by zeros, by the map itself, and upsampling to the nearest."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from lip_plugin.bounds import NormBound
from lip_plugin.bounds.rounding import sqrt_up
from lip_plugin.errors import UnsupportedLayerError
from lip_plugin.network.operators.base import Windows, map_windows, require_ints, require_map
from lip_plugin.network.operators.entrywise import Selecting
from lip_plugin.network.operators.plain_layer import PlainLayer
from lip_plugin.types import Shape

PADDING_MODES = {"zeros": "constant", "circular": "circular", "reflect": "reflect", "replicate": "replicate"}
"""By the name that a convolution has for it: what `F.pad` calls it."""


def largest_copy_count(size: int, before: int, after: int, mode: str) -> int:
    """How often the most repeated pixel of an axis is there after padding; 1 for zeros."""
    if mode == "zeros" or before == after == 0:
        return 1
    pixels = torch.arange(float(size), dtype=torch.float64, device="cpu").view(1, 1, size)
    padded = F.pad(pixels, (before, after), mode=PADDING_MODES[mode])
    return max(Counter(padded.flatten().tolist()).values())


def check_padding(padding: tuple[int, int, int, int], mode: str, input_shape: Shape) -> None:
    """Raise UnsupportedLayerError where a map (C, H, W) is too small to be padded with itself."""
    _, height, width = input_shape
    largest = (max(padding[:2]), max(padding[2:]))
    room = {"circular": 0, "reflect": 1}.get(mode)
    if room is not None and (largest[0] > height - room or largest[1] > width - room):
        raise UnsupportedLayerError(f"{mode} padding {padding} exceeds the map {input_shape}")


@dataclass(frozen=True, eq=False)
class Pad(Selecting):
    """Padding (top, bottom, left, right), as `F.pad` does it. Exact; the norm is the root of the copies of a pixel."""

    kind: ClassVar[str] = "pad"

    padding: tuple[int, int, int, int]
    mode: str = "zeros"

    def __post_init__(self) -> None:
        require_ints(self.padding, "padding", 4, 0)
        if self.mode not in PADDING_MODES:
            raise UnsupportedLayerError(f"padding mode {self.mode!r}; known: {', '.join(PADDING_MODES)}")

    def apply(self, x: Tensor) -> Tensor:
        top, bottom, left, right = self.padding
        return F.pad(x, (left, right, top, bottom), mode=PADDING_MODES[self.mode])

    def output_shape(self, input_shape: Shape) -> Shape:
        channels, height, width = require_map(input_shape, self.kind)
        check_padding(self.padding, self.mode, (channels, height, width))
        return (channels, height + sum(self.padding[:2]), width + sum(self.padding[2:]))

    def lipschitz_upper_bound(self, input_shape: Shape) -> NormBound:
        _, height, width = require_map(input_shape, self.kind)
        copies = largest_copy_count(height, *self.padding[:2], self.mode)
        copies *= largest_copy_count(width, *self.padding[2:], self.mode)
        return NormBound(1.0 if copies == 1 else sqrt_up(float(copies)), "copies of a pixel")

    def windows(self, input_shape: Shape) -> tuple[Windows, ...]:
        return map_windows(input_shape, taps=(1, 1), padding=(sum(self.padding[:2]), sum(self.padding[2:])))

    def work(self, input_shape: Shape) -> int:
        return sum(input_shape[0] * high.padded * wide.padded for high, wide in self.windows(input_shape))

    def plain_layer(self, input_shape: Shape) -> PlainLayer:
        top, bottom, left, right = self.padding
        mode = "" if self.mode == "zeros" else f', mode="{self.mode}"'
        return PlainLayer(f"F.pad({{x}}, ({left}, {right}, {top}, {bottom}){mode})")

    def describe(self) -> str:
        return f"padding {self.padding}, {self.mode}"


@dataclass(frozen=True, eq=False)
class Repeat(Selecting):
    """Every pixel repeated ``factor`` (vertical, horizontal) times: upsampling to the nearest. Norm sqrt(fh fw)."""

    kind: ClassVar[str] = "repeat"

    factor: tuple[int, int]

    def __post_init__(self) -> None:
        require_ints(self.factor, "factor", 2, 1)

    def apply(self, x: Tensor) -> Tensor:
        return x.repeat_interleave(self.factor[0], 2).repeat_interleave(self.factor[1], 3)

    def output_shape(self, input_shape: Shape) -> Shape:
        channels, height, width = require_map(input_shape, self.kind)
        return (channels, height * self.factor[0], width * self.factor[1])

    def lipschitz_upper_bound(self, input_shape: Shape) -> NormBound:
        copies = math.prod(self.factor)
        return NormBound(1.0 if copies == 1 else sqrt_up(float(copies)), "copies of a pixel")

    def windows(self, input_shape: Shape) -> tuple[Windows, ...]:
        extra = tuple(size * (by - 1) for size, by in zip(input_shape[1:], self.factor, strict=False))
        return map_windows(input_shape, taps=(1, 1), padding=extra)

    def work(self, input_shape: Shape) -> int:
        return math.prod(input_shape) * math.prod(self.factor)

    def plain_layer(self, input_shape: Shape) -> PlainLayer:
        high, wide = self.factor
        return PlainLayer(f"{{x}}.repeat_interleave({high}, 2).repeat_interleave({wide}, 3)")

    def describe(self) -> str:
        return f"every pixel repeated {self.factor[0]}x{self.factor[1]} times"
