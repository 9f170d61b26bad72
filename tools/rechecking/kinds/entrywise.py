"""Shifts and scales of channels, and PReLU."""

from __future__ import annotations

import numpy as np

from ..arithmetic import Array, Bound, U, lengths, per_channel
from ..layer import Layer


def check_channels(layer: Layer, name: str, *, or_one: bool = True) -> None:
    """One number a channel, or one for all: NumPy would spread a list of one as well."""
    sizes = layer.tensors[name].shape
    if sizes != layer.shape[:1] and not (or_one and sizes == ()):
        raise ValueError(f"card.json: {layer.kind} with {name} of shape {sizes} on {layer.shape}")


class Offset(Layer, kind="offset"):
    """One number, one per channel, or of the input's dimensions, each side that of the input or 1."""

    needs = ("offset",)

    def check(self) -> None:
        sizes = self.tensors["offset"].shape
        if len(sizes) < 2:
            check_channels(self, "offset")
        elif len(sizes) != len(self.shape) or np.broadcast_shapes(sizes, self.shape) != self.shape:
            raise ValueError(f"card.json: offset of shape {sizes} on {self.shape}")

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

    def check(self) -> None:
        check_channels(self, "scale")

    def norm(self) -> Bound:
        return float(np.abs(self.tensors["scale"]).max()), "largest scale"

    def apply(self, v: Array) -> tuple[Array, Array]:
        y = v * per_channel(self.tensors["scale"], v)
        return y, 2 * U * lengths(y)

    def carry(self, values: Array) -> Array:
        return values


class PReLU(Layer, kind="prelu"):
    needs = ("slope",)

    def check(self) -> None:
        check_channels(self, "slope", or_one=False)

    def norm(self) -> Bound:
        return max(1.0, float(np.abs(self.tensors["slope"]).max())), "largest slope"

    def apply(self, v: Array) -> tuple[Array, Array]:
        y = np.where(v > 0, v, v * per_channel(self.tensors["slope"], v))
        return y, 2 * U * lengths(y)
