"""A step on a convex potential, x - W^T (scale * relu(W x + bias)): the residual block of SLL and CPL networks."""

from __future__ import annotations

import math

import numpy as np

from ..arithmetic import UP, Array, Bound, U, frobenius, lengths
from ..convolutions import Convolution
from ..layer import Layer
from .convolving import check_weight
from .dense import dot_error, shapes


class ConvexPotential(Layer, kind="convex_potential"):
    """The relu of two inputs differs by D times their difference, 0 <= D <= 1 diagonal. So outputs differ by a
    symmetric I - B^T D B times that of the inputs, B = scale^(1/2) W, with eigenvalues from 1 - ||B||^2 to 1.
    """

    needs = ("weight", "bias", "scale")

    def check(self) -> None:
        weight, scale = self.tensors["weight"], self.tensors["scale"]
        check_weight(self, len(weight))
        fits = weight.shape[1] == self.shape[0] and scale.shape == weight.shape[:1]
        if not fits or not (np.isfinite(scale) & (scale >= 0)).all():
            raise ValueError(f"card.json: {self.kind} with tensors {shapes(self.tensors)} and scale {scale}")
        if any(pad >= taps for pad, taps in zip(self.integers("padding", 2, 0), weight.shape[2:], strict=True)):
            raise ValueError(f"card.json: {self.kind} with more padding than its kernel sees")

    def convolution(self, weight: Array) -> Convolution:
        high, wide = self.integers("padding", 2, 0)
        return Convolution(weight, self.shape[1:], (1, 1), (1, 1), (high, high, wide, wide))

    def norm(self) -> Bound:
        """A root and a product round every entry of B, of which the layer has as many copies as it has outputs."""
        b = np.sqrt(self.tensors["scale"])[:, None, None, None] * self.tensors["weight"]
        layer = self.convolution(b)
        found, how = layer.norm()
        places = math.prod(axis.pixel.shape[1] for axis in layer.axes())
        most = UP * (found + 3 * U * frobenius(b) * math.sqrt(places))
        return max(1.0, math.nextafter(UP * most**2 - 1, math.inf)), f"I - B^T D B, B by {how}"

    def apply(self, v: Array) -> tuple[Array, Array]:
        weight, scale = self.tensors["weight"], self.tensors["scale"]
        layer, bias = self.convolution(weight), self.tensors["bias"][:, None, None]
        size = layer.apply(np.abs(v), np.abs(weight)) + np.abs(bias)
        off = lengths(dot_error(weight[0].size, size))
        hidden = np.maximum(layer.apply(v, weight) + bias, 0) * scale[:, None, None]
        off = UP * (scale.max() * off + 2 * U * lengths(hidden))
        own = lengths(dot_error(weight[:, 0].size, layer.adjoint(np.abs(hidden), np.abs(weight))))
        y = v - layer.adjoint(hidden, weight)
        return y, UP * (layer.norm()[0] * off + own + 2 * U * lengths(y))
