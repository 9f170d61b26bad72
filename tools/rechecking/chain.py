"""Layers one after the other."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np

from .arithmetic import TINY, UP, Array
from .layer import Layer


def product(bounds: Iterable[float]) -> float:
    """Rounded up."""
    total = 1.0
    for bound in bounds:
        total = math.nextafter(total * bound, math.inf)
    return total


def follow(layers: Sequence[Layer], bounds: Sequence[float], v: Array) -> tuple[Array, Array]:
    """What layers of these bounds make of v, and per image how far off that is."""
    error = np.zeros(len(v))
    for layer, bound in zip(layers, bounds, strict=True):
        v, added = layer.apply(v)
        error = UP * (bound * error + added + math.sqrt(v[0].size) * TINY)
    return v, error
