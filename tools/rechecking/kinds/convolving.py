"""Convolutions, and transposed ones: the adjoints of zero-padded convolutions."""

from __future__ import annotations

import math

import numpy as np

from ..arithmetic import Array, Bound, lengths
from ..convolutions import Convolution
from ..layer import Layer, Linear
from .dense import dot_error, shapes


def check_weight(layer: Layer, outputs: int) -> None:
    shape, bias = layer.tensors["weight"].shape, layer.tensors.get("bias")
    if len(shape) != 4 or 0 in shape or len(layer.shape) != 3 or (bias is not None and bias.shape != (outputs,)):
        raise ValueError(f"card.json: {layer.kind} with tensors {shapes(layer.tensors)} on {layer.shape}")


class Conv(Linear, kind="conv"):
    """weight (groups outputs, inputs, taps, taps)."""

    def check(self) -> None:
        check_weight(self, len(self.tensors["weight"]))
        if self.tensors["weight"].shape[1] * self.integers("groups", 1)[0] != self.shape[0]:
            raise ValueError(f"conv with weight {self.tensors['weight'].shape} on {self.shape}")

    @property
    def takes_scales(self) -> bool:
        return self.settings["padding_mode"] == "zeros"

    def convolution(self) -> Convolution:
        stride, dilation, padding = self.integers("stride"), self.integers("dilation"), self.integers("padding", 4, 0)
        (groups,), mode = self.integers("groups", 1), self.settings["padding_mode"]
        return Convolution(self.tensors["weight"], self.shape[1:], stride, dilation, padding, groups, mode)

    def norm(self) -> Bound:
        return self.convolution().norm()

    def apply(self, v: Array) -> tuple[Array, Array]:
        weight, convolve = self.tensors["weight"], self.convolution().apply
        bias = self.tensors.get("bias", np.zeros(len(weight)))[:, None, None]
        error = dot_error(weight[0].size, convolve(np.abs(v), np.abs(weight)) + np.abs(bias))
        return convolve(v, weight) + bias, lengths(error)

    def with_columns(self, values: Array) -> Layer | None:
        (groups,), weight = self.integers("groups", 1), self.tensors["weight"]
        return self.with_factor(values.reshape(groups, -1, 1, 1).repeat(len(weight) // groups, axis=0))

    def absolute_norm(self) -> float:
        (groups,), weight = self.integers("groups", 1), self.tensors["weight"]
        rows = np.abs(weight).sum(axis=(2, 3))
        columns = rows.reshape(groups, -1, rows.shape[1]).sum(axis=1)
        return math.sqrt(float(rows.sum(axis=1).max() * columns.max()))


class ConvTranspose(Layer, kind="conv_transpose"):
    """weight (groups inputs, outputs, taps, taps): the adjoint of the convolution with it, of which it has the norm."""

    needs = ("weight",)
    may_have = ("bias",)

    def check(self) -> None:
        (groups,), weight = self.integers("groups", 1), self.tensors["weight"]
        check_weight(self, weight.shape[1] * groups if weight.ndim == 4 else 0)
        adjoint = self.convolution()
        size = tuple(axis.pixel.shape[1] for axis in adjoint.axes())
        if (len(weight), *size) != self.shape or len(weight) % groups:
            raise ValueError(
                f"conv_transpose with weight {weight.shape} on {self.shape}: none that a convolution undoes"
            )

    def convolution(self) -> Convolution:
        """From the output's map to the input's."""
        stride, dilation, ends = self.integers("stride"), self.integers("dilation"), self.integers("padding", 2, 0)
        extra, (groups,) = self.integers("output_padding", 2, 0), self.integers("groups", 1)
        weight, size = self.tensors["weight"], self.shape[1:]
        out = [
            (n - 1) * s - 2 * p + d * (taps - 1) + e + 1
            for n, s, p, d, taps, e in zip(size, stride, ends, dilation, weight.shape[2:], extra, strict=True)
        ]
        if min(out) < 1:
            raise ValueError(f"conv_transpose leaves nothing of {self.shape}")
        return Convolution(weight, tuple(out), stride, dilation, [ends[0], ends[0], ends[1], ends[1]], groups)

    def norm(self) -> Bound:
        return self.convolution().norm()

    def apply(self, v: Array) -> tuple[Array, Array]:
        weight, spread = self.tensors["weight"], self.convolution().adjoint
        (groups,) = self.integers("groups", 1)
        bias = self.tensors.get("bias", np.zeros(weight.shape[1] * groups))[:, None, None]
        terms = weight[:, 0].size // groups
        error = dot_error(terms, spread(np.abs(v), np.abs(weight)) + np.abs(bias))
        return spread(v, weight) + bias, lengths(error)
