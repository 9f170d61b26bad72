"""Sorting in groups of channels: with groups of two it is MinMax."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from lip_plugin import UnsupportedLayerError
from lip_plugin.bounds import NormBound
from lip_plugin.network import PlainLayer, Selecting
from lip_plugin.types import Shape


@dataclass(frozen=True, eq=False)
class GroupSort(Selecting):
    """(C, ...) -> (C, ...): channels c, c + C/size, c + 2 C/size, ... are put in ascending order at every position.

    Lipschitz 1. For vectors a, b of one group the rearrangement inequality says <sort(a), sort(b)> >= <a, b>, and
    sorting changes no norm, so

        ||sort(a) - sort(b)||^2 = ||a||^2 + ||b||^2 - 2 <sort(a), sort(b)> <= ||a - b||^2.

    The groups are disjoint, so that their squares add up. Entries are compared and moved: no rounding.
    """

    kind: ClassVar[str] = "example_group_sort"

    size: int

    def __post_init__(self) -> None:
        if type(self.size) is not int or self.size < 1:
            raise UnsupportedLayerError(f"size must be a whole number of at least 1, got {self.size!r}")

    def apply(self, x: Tensor) -> Tensor:
        return x.unflatten(1, (self.size, -1)).sort(1).values.flatten(1, 2)

    def output_shape(self, input_shape: Shape) -> Shape:
        if input_shape[0] % self.size:
            raise UnsupportedLayerError(f"{self.kind} by {self.size} does not divide shape {input_shape}")
        return input_shape

    def lipschitz_upper_bound(self, input_shape: Shape) -> NormBound:
        return NormBound(1.0, "rearrangement inequality")

    def work(self, input_shape: Shape) -> int:
        return math.prod(input_shape) * self.size

    def plain_layer(self, input_shape: Shape) -> PlainLayer:
        return PlainLayer(f"{{x}}.unflatten(1, ({self.size}, -1)).sort(1).values.flatten(1, 2)")

    def describe(self) -> str:
        return f"sort in groups of {self.size} channels"
