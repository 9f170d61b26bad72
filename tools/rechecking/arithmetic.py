"""Rounding in double precision: units, and norms from above.

The terms of an error bound are sums and products of non-negative numbers, so UP (2^-40 relative) covers the rounding of
the few hundred operations that evaluate one.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
Shape = tuple[int, ...]
Bound = tuple[float, str]  # at least the Lipschitz constant, and how it was found

U, UP = 2.0**-53, 1 + 2.0**-40
TINY = 2.0**-500  # per number: covers underflow, also that of a square below a square root


def gamma(count: int) -> float:
    """At least the relative error of ``count`` roundings (Higham, Accuracy and Stability, 2nd ed., Lemma 3.1)."""
    return UP * count * U / (1 - count * U)


def lengths(v: Array) -> Array:
    """At least the Euclidean norm of every v[i]."""
    flat = v.reshape(len(v), -1)
    return UP * (1 + gamma(flat.shape[1] + 4)) * np.linalg.norm(flat, axis=1) + math.sqrt(flat.shape[1]) * TINY


def frobenius(a: Array) -> float:
    """At least the Frobenius norm, hence at least the spectral norm."""
    return float(lengths(a[None])[0])


def per_channel(values: Array, v: Array) -> Array:
    """One number, or one a channel, for every entry of v (n, channels, ...)."""
    return np.broadcast_to(values.reshape(-1, *[1] * (v.ndim - 2)), v.shape)
