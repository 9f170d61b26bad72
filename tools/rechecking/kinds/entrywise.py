"""Shifts and scales of channels, and PReLU."""

from __future__ import annotations

import numpy as np

from ..arithmetic import Array, Bound, U, lengths, per_channel
from ..layer import Layer


class Offset(Layer, kind="offset"):
    """One number, one per channel, or of the input's dimensions, each side that of the input or 1."""

    needs = ("offset",)

    def check(self) -> None:
        sizes = self.tensors["offset"].shape
        if len(sizes) > 1 and np.broadcast_shapes(sizes, self.shape) != self.shape:
            raise ValueError(f"offset of shape {sizes} on {self.shape}")

    def norm(self) -> Bound:
        return 1.0, "closed form"

    def apply(self, v: Array) -> tuple[Array, Array]:
        offset = self.tensors["offset"]
        y = v + (offset if offset.ndim > 1 else per_channel(offset, v))
        return y, 2 * U * lengths(y)

    def carry(self, values: Array) -> Array:
        return values


class Scale(Layer, kind="scale"):
    needs = ("scale",)

    def norm(self) -> Bound:
        return float(np.abs(self.tensors["scale"]).max()), "largest scale"

    def apply(self, v: Array) -> tuple[Array, Array]:
        y = v * per_channel(self.tensors["scale"], v)
        return y, 2 * U * lengths(y)

    def carry(self, values: Array) -> Array:
        return values


class PReLU(Layer, kind="prelu"):
    needs = ("slope",)

    def norm(self) -> Bound:
        return max(1.0, float(np.abs(self.tensors["slope"]).max())), "largest slope"

    def apply(self, v: Array) -> tuple[Array, Array]:
        y = np.where(v > 0, v, v * per_channel(self.tensors["slope"], v))
        return y, 2 * U * lengths(y)
