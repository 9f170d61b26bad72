"""Transposed convolution: the adjoint of a strided, zero-padded convolution."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch.nn.functional as F
from torch import Tensor

from lip_plugin.bounds import NormBound, conv_norm_upper_bound
from lip_plugin.bounds.conv import conv_norm_work
from lip_plugin.bounds.rounding import gamma, mul_up, sqrt_up
from lip_plugin.errors import UnsupportedLayerError
from lip_plugin.network.operators.base import (
    FLOAT32_UNIT,
    Rounding,
    RoundingAt,
    RoundingTerm,
    Windows,
    map_windows,
    require_ints,
    require_map,
    require_tensor,
    window_entries,
)
from lip_plugin.network.operators.linear import LinearOperator
from lip_plugin.network.operators.plain_layer import PlainLayer, changed, short, weight_keywords
from lip_plugin.network.operators.rounding import affine_rounding, bias_norm_upper_bound
from lip_plugin.types import Shape


@dataclass(frozen=True, eq=False)
class ConvTranspose(LinearOperator):
    """`F.conv_transpose2d`: weight (I, O/groups, kh, kw), bias (O,), padding taken off both ends of an axis.

    Without its bias the adjoint of the convolution with the same weight from the output's map to the input's, of
    which it has the norm.
    """

    kind: ClassVar[str] = "conv_transpose"

    weight: Tensor
    bias: Tensor | None = None
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    output_padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1

    def __post_init__(self) -> None:
        require_tensor(self.weight, "weight", 4)
        require_ints(self.stride, "stride", 2, 1)
        require_ints(self.padding, "padding", 2, 0)
        require_ints(self.output_padding, "output_padding", 2, 0)
        require_ints(self.dilation, "dilation", 2, 1)
        require_ints((self.groups,), "groups", 1, 1)
        if any(extra >= step for extra, step in zip(self.output_padding, self.stride, strict=True)):
            # Otherwise the last outputs are none that the convolution would read: it had another number of them.
            raise UnsupportedLayerError(f"output_padding {self.output_padding} must be below the stride {self.stride}")
        if self.weight.shape[0] % self.groups or 0 in self.weight.shape:
            raise UnsupportedLayerError(f"weight {tuple(self.weight.shape)} does not split into {self.groups} groups")
        if self.bias is not None:
            require_tensor(self.bias, "bias", 1)
            if self.bias.shape[0] != self.weight.shape[1] * self.groups:
                raise UnsupportedLayerError(
                    f"bias {tuple(self.bias.shape)} for {self.weight.shape[1] * self.groups} outputs"
                )

    def apply(self, x: Tensor) -> Tensor:
        return self._transposed(x, self.bias)

    def linear_part(self, x: Tensor) -> Tensor:
        return self._transposed(x, None)

    def _transposed(self, x: Tensor, bias: Tensor | None) -> Tensor:
        how = (self.stride, self.padding, self.output_padding, self.groups, self.dilation)
        return F.conv_transpose2d(x, self.weight, bias, *how)

    def output_shape(self, input_shape: Shape) -> Shape:
        channels, *sizes = require_map(input_shape, self.kind)
        inputs, per_group, *kernel = self.weight.shape
        if channels != inputs:
            raise UnsupportedLayerError(f"conv_transpose expects {inputs} channels, got shape {input_shape}")
        out = [
            (size - 1) * stride - 2 * pad + dilation * (extent - 1) + extra + 1
            for size, stride, pad, dilation, extent, extra in zip(
                sizes, self.stride, self.padding, self.dilation, kernel, self.output_padding, strict=True
            )
        ]
        if min(out) < 1:
            raise UnsupportedLayerError(f"conv_transpose with padding {self.padding} leaves nothing of {input_shape}")
        return (per_group * self.groups, *out)

    def lipschitz_upper_bound(self, input_shape: Shape) -> NormBound:
        return conv_norm_upper_bound(self.weight, **self._geometry(input_shape))

    def proof_work(self, input_shape: Shape) -> int:
        return conv_norm_work(self.weight, **self._geometry(input_shape))

    def _geometry(self, input_shape: Shape) -> Any:
        """Of the convolution that it is the adjoint of."""
        _, height, width = self.output_shape(input_shape)
        vertical, horizontal = self.padding
        return {
            "input_size": (height, width),
            "stride": self.stride,
            "padding": (vertical, vertical, horizontal, horizontal),
            "dilation": self.dilation,
            "groups": self.groups,
        }

    def rounding_term(self, input_shape: Shape, unit: float) -> RoundingTerm:
        """An output sums at most all taps of all input channels of its group."""
        out = self.output_shape(input_shape)
        fan_in = self.weight.shape[0] // self.groups * math.prod(self.weight.shape[2:])
        bias = bias_norm_upper_bound(self.bias, repeats=out[1] * out[2])
        return affine_rounding(self._absolute_norm(), bias, unit, outputs=math.prod(out), fan_in=fan_in)

    def float32_rounding(self, input_shape: Shape) -> Rounding:
        """A partial sum is at most |W| |x| + |b|."""
        term, swell = self.rounding_term(input_shape, FLOAT32_UNIT), mul_up(2.0, self._absolute_norm())
        bias = bias_norm_upper_bound(self.bias, repeats=math.prod(self.output_shape(input_shape)[1:]))

        def rounding(x: Tensor, y: Tensor, norm: Tensor) -> RoundingAt:
            at = RoundingAt.by_term(term, norm, swell)
            return RoundingAt(at.error, at.growth, at.peak + 2.0 * bias, at.swell)

        return rounding

    def _absolute_norm(self) -> float:
        """|| |W| ||_2 <= sqrt(max row sum * max column sum) of the operator with entries |w|."""
        weight = self.weight.detach().abs().double().cpu()
        grown = 1.0 + gamma(weight.numel() + 1)
        column = float(weight.sum((1, 2, 3)).max())
        row = float(weight.unflatten(0, (self.groups, -1)).sum((1, 3, 4)).max())
        return sqrt_up(mul_up(row, column, grown, grown))

    def windows(self, input_shape: Shape) -> tuple[Windows, ...]:
        """Of the convolution that it is the adjoint of."""
        try:
            output = self.output_shape(input_shape)
        except UnsupportedLayerError:
            return ()
        both = (2 * self.padding[0], 2 * self.padding[1])
        taps = self.weight.shape[2:]
        return map_windows(output, taps=taps, stride=self.stride, padding=both, dilation=self.dilation)

    def work(self, input_shape: Shape) -> int:
        return self.weight.numel() * math.prod(input_shape[1:])

    def held(self, input_shape: Shape) -> int:
        """Torch makes every window before it adds them up."""
        windows = self.windows(input_shape)
        return super().held(input_shape) + window_entries(self.weight.shape[1] * self.groups, windows)

    def plain_layer(self, input_shape: Shape) -> PlainLayer:
        inputs, per_group, *kernel = self.weight.shape
        keywords = {
            "stride": (short(self.stride), "1"),
            "padding": (short(self.padding), "0"),
            "output_padding": (short(self.output_padding), "0"),
            "groups": (str(self.groups), "1"),
            "dilation": (short(self.dilation), "1"),
            **weight_keywords(self.weight, self.bias),
        }
        arguments = [str(inputs), str(per_group * self.groups), short(tuple(kernel)), *changed(keywords)]
        return PlainLayer("{self}({x})", self.kind, f"nn.ConvTranspose2d({', '.join(arguments)})")

    def describe(self) -> str:
        inputs, per_group, height, width = self.weight.shape
        stride = "" if set(self.stride) == {1} else f", stride {short(self.stride)}"
        return f"{height}x{width} transposed convolution, {inputs} to {per_group * self.groups} channels{stride}"
