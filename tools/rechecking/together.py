"""Scales bounded together with a linear layer beside them, and with the head."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from .arithmetic import UP, Array, U, frobenius, gamma
from .chain import product
from .kinds.entrywise import Offset, Scale
from .layer import Layer, Linear


class Scaled(NamedTuple):
    """A bound of what is before the head but for scales that are in its rows, entries off by gamma(roundings)."""

    total: float
    rows: Array
    roundings: int

    def climb(self, j: int, i: int) -> float:
        """At least Lip(h) ||w_j - w_i||."""
        distance = frobenius(self.rows[j] - self.rows[i]) * (1 + 2 * U)
        off = gamma(self.roundings + 4) * (frobenius(self.rows[j]) + frobenius(self.rows[i]))
        return math.nextafter(UP * self.total * (distance + off), math.inf)


class Merged(NamedTuple):
    """A layer with scales beside it in its weight, whose entries are off by gamma(roundings)."""

    layer: Layer
    roundings: int = 0

    def bound(self) -> float:
        if not self.roundings:
            return self.layer.bound[0]
        assert isinstance(self.layer, Linear)
        return UP * (self.layer.bound[0] + UP * gamma(self.roundings + 4) * self.layer.absolute_norm())


def merged(layers: list[Layer]) -> list[Merged | None]:
    """A scale goes into the rows of the linear layer before it (offsets between), or the columns of the next.

    None is left in its place.
    """
    found: list[Merged | None] = [Merged(layer) for layer in layers]
    for index, scale in enumerate(layers):
        if not isinstance(scale, Scale):
            continue
        values = np.broadcast_to(scale.tensors["scale"], scale.shape[:1])
        before = index - 1
        while before >= 0 and isinstance(layers[before], Offset | Scale):
            before -= 1
        if before >= 0 and (target := linear(found[before])):
            found[before] = Merged(target.with_rows(values), roundings(found[before]) + 1)
            found[index] = None
            continue
        after, carried = index + 1, values
        while after < len(layers) and not linear(found[after]) and carried is not None:
            carried, after = layers[after].carry(carried), after + 1
        if after < len(layers) and carried is not None and (target := linear(found[after])):
            found[after] = Merged(target.with_columns(carried), roundings(found[after]) + 1)
            found[index] = None
    return found


def linear(merged: Merged | None) -> Linear | None:
    """What a scale may go into."""
    layer = merged.layer if merged else None
    return layer if isinstance(layer, Linear) and layer.takes_scales else None


def roundings(merged: Merged | None) -> int:
    return merged.roundings if merged else 0


def bound_together(found: list[Merged | None]) -> float:
    return product(layer.bound() for layer in found if layer)


def with_scales(layers: list[Layer]) -> tuple[float, Scaled | None]:
    """The bound of everything before the head, scales taken into its weights; and into the head's."""
    if not any(isinstance(layer, Scale) for layer in layers):
        return math.inf, None
    *before, head = merged(layers)
    assert head is not None
    return bound_together(merged(layers[:-1])), Scaled(
        bound_together(before), head.layer.tensors["weight"], head.roundings
    )
