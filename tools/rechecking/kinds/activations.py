"""Functions of one number, applied to every entry: a row each, with the largest slope.

They are continuous, and smooth but for finitely many points, so that no two values are further apart than the largest
slope allows. Where that is no closed form it is the slope at the root of the second derivative, rounded up.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from ..arithmetic import Array, Bound, U, lengths
from ..layer import Layer

Function = Callable[[Array, float, float], Array]  # of an array and two parameters


def erf(v: Array) -> Array:
    return np.array([math.erf(value) for value in v.ravel()]).reshape(v.shape)


def softplus(v: Array, beta: float) -> Array:
    return np.maximum(v, 0) + np.log1p(np.exp(-np.abs(beta * v))) / beta


def steeper(p: float, q: float) -> float:
    return max(abs(p), 1.0)


class Row(NamedTuple):
    """``slope``: a number, or of the parameters. ``units``: roundoffs of the result; None: of it, of x and of 1."""

    value: Function
    slope: float | Callable[[float, float], float] = 1.0
    units: float | None = None
    holds: Callable[[float, float], bool] = lambda p, q: True
    """Of which parameters that is true."""

    def largest_slope(self, p: float, q: float) -> float:
        return self.slope(p, q) if callable(self.slope) else self.slope


ROWS: dict[str, Row] = {
    "relu": Row(lambda v, p, q: np.maximum(v, 0), units=0.0),
    "abs": Row(lambda v, p, q: np.abs(v), units=0.0),
    "leaky_relu": Row(lambda v, p, q: np.where(v > 0, v, p * v), steeper, 32.0),
    "elu": Row(lambda v, p, q: np.where(v > 0, v, p * np.expm1(np.minimum(v, 0))), steeper, 32.0),
    "tanh": Row(lambda v, p, q: np.tanh(v), units=32.0),
    "sigmoid": Row(lambda v, p, q: 1 / (1 + np.exp(-v)), 0.25, 32.0),
    "selu": Row(
        lambda v, p, q: 1.0507009873554805 * np.where(v > 0, v, 1.6732632423543772 * np.expm1(np.minimum(v, 0))),
        1.75809934084737691,
    ),
    "celu": Row(lambda v, p, q: np.where(v > 0, v, p * np.expm1(np.minimum(v, 0) / p)), holds=lambda p, q: p > 0),
    "hardtanh": Row(lambda v, p, q: np.clip(v, p, q), holds=lambda p, q: p <= q),
    "clamp_min": Row(lambda v, p, q: np.maximum(v, p)),
    "clamp_max": Row(lambda v, p, q: np.minimum(v, p)),
    "softplus": Row(lambda v, p, q: softplus(v, p), holds=lambda p, q: p > 0),
    "log_sigmoid": Row(lambda v, p, q: -softplus(-v, 1.0)),
    "silu": Row(lambda v, p, q: v / (1 + np.exp(-v)), 1.0998393201289),
    "gelu": Row(lambda v, p, q: v * 0.5 * (1 + erf(v / math.sqrt(2))), 1.1289041451852),
    "gelu_tanh": Row(
        lambda v, p, q: v * 0.5 * (1 + np.tanh(math.sqrt(2 / math.pi) * (v + 0.044715 * v**3))), 1.1289930686588
    ),
    "mish": Row(lambda v, p, q: v * np.tanh(softplus(v, 1.0)), 1.0884981612518),
    "hardswish": Row(lambda v, p, q: v * np.clip(v + 3, 0, 6) / 6, 1.5),
    "hardsigmoid": Row(lambda v, p, q: np.clip(v + 3, 0, 6) / 6, 0.16666666666666669),
    "softsign": Row(lambda v, p, q: v / (1 + np.abs(v))),
    "tanhshrink": Row(lambda v, p, q: v - np.tanh(v)),
    "softshrink": Row(lambda v, p, q: np.sign(v) * np.maximum(np.abs(v) - p, 0), holds=lambda p, q: p >= 0),
    "sin": Row(lambda v, p, q: np.sin(v)),
    "cos": Row(lambda v, p, q: np.cos(v)),
    "atan": Row(lambda v, p, q: np.arctan(v)),
    "erf": Row(lambda v, p, q: erf(v), 1.12837916709552),
}
"""By the name that a card has for it."""


class Activation(Layer, kind="activation"):
    @property
    def row(self) -> Row:
        function = self.settings["function"]
        if function not in ROWS:
            raise ValueError(f"activation {function!r} is not supported by this checker")
        return ROWS[function]

    def parameters(self) -> tuple[float, float]:
        needs_second = self.settings["function"] == "hardtanh"
        return self.number("parameter"), self.number("second") if needs_second else 0.0

    def check(self) -> None:
        if not self.row.holds(*self.parameters()):
            raise ValueError(f"activation {self.settings['function']!r} with parameters {self.parameters()}")

    def norm(self) -> Bound:
        return self.row.largest_slope(*self.parameters()), "closed form"

    def apply(self, v: Array) -> tuple[Array, Array]:
        """Library functions are within 8 units in the last place; at most three roundings surround them."""
        p, q = self.parameters()
        y = self.row.value(v, p, q)
        if self.row.units is not None:
            return y, self.row.units * U * lengths(y) if self.row.units else np.zeros(len(v))
        return y, 64 * U * (lengths(y) + lengths(v) + math.sqrt(v[0].size) * (1 + abs(p)))
