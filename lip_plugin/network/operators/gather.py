"""Channels taken in another order, left out, or repeated; and channels sorted in groups."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from lip_plugin.bounds import NormBound
from lip_plugin.bounds.rounding import sqrt_up
from lip_plugin.errors import UnsupportedLayerError
from lip_plugin.network.operators.base import require_ints
from lip_plugin.network.operators.entrywise import Selecting
from lip_plugin.network.operators.plain_layer import PlainLayer
from lip_plugin.types import Shape


@dataclass(frozen=True, eq=False)
class Gather(Selecting):
    """Channel i of the output is channel ``channels[i]`` of the input, (C, ...) -> (len(channels), ...).

    Linear with one 1 in every row, so that its norm is the root of how often the most repeated channel is taken.
    """

    kind: ClassVar[str] = "gather"

    channels: tuple[int, ...]

    def __post_init__(self) -> None:
        require_ints(self.channels, "channels", len(self.channels), 0)
        if not self.channels:
            raise UnsupportedLayerError("gather takes no channel at all")

    def apply(self, x: Tensor) -> Tensor:
        return x[:, list(self.channels)]

    def output_shape(self, input_shape: Shape) -> Shape:
        if not input_shape or max(self.channels) >= input_shape[0]:
            raise UnsupportedLayerError(f"gather takes channel {max(self.channels)}, got shape {input_shape}")
        return (len(self.channels), *input_shape[1:])

    def lipschitz_upper_bound(self, input_shape: Shape) -> NormBound:
        repeats = max(Counter(self.channels).values())
        return NormBound(1.0 if repeats == 1 else sqrt_up(float(repeats)), "channels taken")

    def work(self, input_shape: Shape) -> int:
        return len(self.channels) * math.prod(input_shape[1:])

    def plain_layer(self, input_shape: Shape) -> PlainLayer:
        return PlainLayer(f"{{x}}[:, {list(self.channels)}]")

    def describe(self) -> str:
        return f"{len(self.channels)} channels taken"


@dataclass(frozen=True, eq=False)
class GroupSort(Selecting):
    """Each run of ``size`` channels sorted, the smallest first. Lipschitz 1, exact in floating point.

    Sorting is 1-Lipschitz: of all pairings of two lists the sorted one has the least squared distance. Source: Anil,
    Lucas, Grosse, Sorting out Lipschitz function approximation (2019); ``size`` = C is their FullSort.
    """

    kind: ClassVar[str] = "group_sort"

    size: int

    def __post_init__(self) -> None:
        require_ints((self.size,), "size", 1, 1)

    def apply(self, x: Tensor) -> Tensor:
        return x.unflatten(1, (-1, self.size)).sort(2)[0].flatten(1, 2)

    def output_shape(self, input_shape: Shape) -> Shape:
        if not input_shape or input_shape[0] % self.size:
            raise UnsupportedLayerError(f"group_sort of {self.size} does not divide shape {input_shape}")
        return input_shape

    def lipschitz_upper_bound(self, input_shape: Shape) -> NormBound:
        return NormBound(1.0, "closed form")

    def work(self, input_shape: Shape) -> int:
        return math.prod(input_shape) * self.size.bit_length()

    def plain_layer(self, input_shape: Shape) -> PlainLayer:
        return PlainLayer(f"{{x}}.unflatten(1, (-1, {self.size})).sort(2)[0].flatten(1, 2)")

    def describe(self) -> str:
        return f"sort in groups of {self.size} channels"
