"""Scales bounded together with a linear layer beside them, and with the head."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from .arithmetic import UP, Array, U, frobenius, gamma
from .chain import product
from .kinds.entrywise import Offset, Scale
from .layer import Layer, Linear, channels_of, spread


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
        if isinstance(scale, Scale):
            place, together = with_rows(found, index)
            if place is None:
                place, together = with_columns(found, index)
            if place is not None and together is not None:
                found[place], found[index] = Merged(together, roundings(found[place]) + 1), None
    return found


Placed = tuple[int | None, Layer | None]
"""Which layer a scale goes into, and that with it; None where there is none, or where its weight would underflow."""


def with_rows(found: list[Merged | None], index: int) -> Placed:
    place = index - 1
    while place >= 0 and ((one := found[place]) is None or isinstance(one.layer, Offset | Scale)):
        place -= 1
    target, scale = linear(found[place]) if place >= 0 else None, found[index]
    if target is None or scale is None:
        return None, None
    return place, target.with_rows(np.broadcast_to(scale.layer.tensors["scale"], scale.layer.shape[:1]))


def with_columns(found: list[Merged | None], index: int) -> Placed:
    scale = found[index]
    assert scale is not None
    values: Array | None = spread(
        np.broadcast_to(scale.layer.tensors["scale"], scale.layer.shape[:1]), scale.layer.shape
    )
    for place in range(index + 1, len(found)):
        one, target = found[place], linear(found[place])
        if values is None or one is None:
            break
        if target is not None:
            channels = channels_of(values)
            return (None, None) if channels is None else (place, target.with_columns(channels))
        values = one.layer.carry(values)
    return None, None


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
