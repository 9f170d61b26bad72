"""Matrices: dense layers, and the head at the end of a network."""

from __future__ import annotations

import math

import numpy as np

from ..arithmetic import TINY, Array, Bound, gamma, lengths
from ..layer import Layer, Linear
from ..norms import gram_matrix, proved_norm


def shapes(tensors: dict[str, Array]) -> dict[str, tuple[int, ...]]:
    return {name: value.shape for name, value in tensors.items()}


def dot_error(fan_in: int, size: Array) -> Array:
    """Entry by entry |computed - exact| <= gamma(fan-in + 4) (|W||v| + |b|) (Higham, section 3.5)."""
    return 2 * gamma(fan_in + 2) * size + TINY


class Dense(Linear, kind="dense"):
    def check(self) -> None:
        shape, bias = self.tensors["weight"].shape, self.tensors.get("bias")
        if len(shape) != 2 or 0 in shape or self.shape != shape[1:] or (bias is not None and bias.shape != shape[:1]):
            raise ValueError(f"card.json: {self.kind} with tensors {shapes(self.tensors)} on {self.shape}")

    def norm(self) -> Bound:
        return proved_norm([gram_matrix(self.tensors["weight"])]), "matrix"

    def entries(self, v: Array) -> tuple[Array, Array]:
        """The outputs, and what each may be off by."""
        weight = self.tensors["weight"]
        bias = self.tensors.get("bias", np.zeros(len(weight)))
        y, size = v @ weight.T, np.abs(v) @ np.abs(weight).T
        return y + bias, dot_error(weight.shape[1], size + np.abs(bias))

    def apply(self, v: Array) -> tuple[Array, Array]:
        y, error = self.entries(v)
        return y, lengths(error)

    def with_columns(self, values: Array) -> Layer | None:
        return self.with_factor(values)

    def absolute_norm(self) -> float:
        weight = np.abs(self.tensors["weight"])
        return math.sqrt(float(weight.sum(axis=1).max() * weight.sum(axis=0).max()))


class Head(Dense, kind="head"):
    """The last layer, treated per pair of classes."""
