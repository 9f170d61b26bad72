"""What operators share that take every entry once: they slide no window, and do about one product per entry."""

from __future__ import annotations

import math

from lip_plugin.network.operators.base import Operator, RoundingTerm, Windows
from lip_plugin.types import Shape


class Entrywise(Operator):
    """An operator whose time and memory grow with the number of entries alone."""

    def windows(self, input_shape: Shape) -> tuple[Windows, ...]:
        return ()

    def work(self, input_shape: Shape) -> int:
        return math.prod(input_shape)


class Selecting(Entrywise):
    """An operator whose outputs are entries of its input, or 0: moved, repeated or sorted. Exact in floating point."""

    def rounding_term(self, input_shape: Shape, unit: float) -> RoundingTerm:
        return RoundingTerm.EXACT
