"""Operators that act on every entry by itself: shifts, channel scales, activations."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from lip_plugin.bounds import NormBound
from lip_plugin.bounds.rounding import add_up, div_up, mul_up
from lip_plugin.errors import UnsupportedLayerError
from lip_plugin.network.operators.activations import ACTIVATIONS, PLAIN_SOFTPLUS, Row
from lip_plugin.network.operators.base import (
    FLOAT32_UNIT,
    NormEstimates,
    Rounding,
    RoundingAt,
    RoundingTerm,
    require_tensor,
)
from lip_plugin.network.operators.entrywise import Entrywise
from lip_plugin.network.operators.plain_layer import PlainLayer
from lip_plugin.network.operators.rounding import bias_norm_upper_bound, elementwise_rounding
from lip_plugin.types import Shape


def _per_channel(values: Tensor, x: Tensor) -> Tensor:
    """(C,) or () as a factor for (B, C, ...)."""
    return values.view(-1, *[1] * (x.dim() - 2)) if values.dim() == 1 else values


def _require_channels(values: object, name: str, *, dimensions: int = 1) -> None:
    """A tensor of at most so many dimensions."""
    require_tensor(values, name, min(values.dim(), dimensions) if isinstance(values, Tensor) else dimensions)


def _plain(values: Tensor, name: str, sign: str, input_shape: Shape) -> PlainLayer:
    size = repr(tuple(values.shape)) if values.dim() != 1 else str(len(values))
    dtype = ", dtype=torch.float64" if values.dtype == torch.float64 else ""
    ones = ", 1" * (len(input_shape) - 1)
    view = f".view(-1{ones})" if values.dim() == 1 and ones else ""
    return PlainLayer(f"{{x}} {sign} {{self}}{view}", name, f"torch.zeros({size}{dtype})", is_buffer=True)


def _channels(values: Tensor) -> str:
    return "one number" if values.dim() == 0 else f"{len(values)} channels"


def _check_channels(values: Tensor, input_shape: Shape, kind: str) -> Shape:
    if values.dim() == 1 and values.shape[0] != input_shape[0]:
        raise UnsupportedLayerError(f"{kind} of {values.shape[0]} channels, got shape {input_shape}")
    return input_shape


@dataclass(frozen=True, eq=False)
class Offset(Entrywise):
    """y = x + offset, offset a scalar (), per channel (C,), or of as many dimensions as x has. Lipschitz 1.

    In the last form each side is that of x or 1: (1, H, W) holds one number per position.
    """

    kind: ClassVar[str] = "offset"

    offset: Tensor

    def __post_init__(self) -> None:
        _require_channels(self.offset, "offset", dimensions=3)
        if 0 in self.offset.shape:
            raise UnsupportedLayerError(f"offset {tuple(self.offset.shape)} is empty")

    def apply(self, x: Tensor) -> Tensor:
        return x + _per_channel(self.offset, x)

    def output_shape(self, input_shape: Shape) -> Shape:
        sizes = tuple(self.offset.shape)
        if len(sizes) < 2:
            return _check_channels(self.offset, input_shape, self.kind)
        fits = len(sizes) == len(input_shape)
        if not fits or any(size not in (1, side) for size, side in zip(sizes, input_shape, strict=True)):
            raise UnsupportedLayerError(f"{self.kind} of shape {sizes}, got shape {input_shape}")
        return input_shape

    def lipschitz_upper_bound(self, input_shape: Shape) -> NormBound:
        return NormBound(1.0, "translation")

    def lipschitz_estimate(self, input_shape: Shape, norms: NormEstimates) -> Tensor:
        return norms.one

    def rounding_term(self, input_shape: Shape, unit: float) -> RoundingTerm:
        repeats = math.prod(input_shape) // self.offset.numel()
        return RoundingTerm(unit, 2.0 * unit * bias_norm_upper_bound(self.offset.reshape(-1), repeats=repeats))

    def plain_layer(self, input_shape: Shape) -> PlainLayer:
        return _plain(self.offset, self.kind, "+", input_shape)

    def describe(self) -> str:
        sizes = "x".join(map(str, self.offset.shape))
        return f"offset, {sizes if self.offset.dim() > 1 else _channels(self.offset)}"


@dataclass(frozen=True, eq=False)
class Scale(Entrywise):
    """y = scale * x, scale a scalar () or per channel (C,). Lipschitz max |scale|."""

    kind: ClassVar[str] = "scale"

    scale: Tensor

    def __post_init__(self) -> None:
        _require_channels(self.scale, "scale")

    def apply(self, x: Tensor) -> Tensor:
        return x * _per_channel(self.scale, x)

    def output_shape(self, input_shape: Shape) -> Shape:
        return _check_channels(self.scale, input_shape, self.kind)

    def lipschitz_upper_bound(self, input_shape: Shape) -> NormBound:
        return NormBound(float(self.scale.detach().double().abs().max()), "largest scale")

    def lipschitz_estimate(self, input_shape: Shape, norms: NormEstimates) -> Tensor:
        return self.scale.abs().max()

    def rounding_term(self, input_shape: Shape, unit: float) -> RoundingTerm:
        return elementwise_rounding(self.lipschitz_upper_bound(input_shape).value, unit, math.prod(input_shape))

    def plain_layer(self, input_shape: Shape) -> PlainLayer:
        return _plain(self.scale, self.kind, "*", input_shape)

    def describe(self) -> str:
        return f"scale, {_channels(self.scale)}"


@dataclass(frozen=True, eq=False)
class Activation(Entrywise):
    """An entrywise function of `activations.ACTIVATIONS` by name, with its parameters, 0 and None where it has none.

    ``parameter`` is the slope (leaky_relu), alpha (elu, celu), beta (softplus), lambda (softshrink) or the lower end
    (hardtanh, whose upper end is ``second``).
    """

    kind: ClassVar[str] = "activation"

    function: str
    parameter: float = 0.0
    second: float | None = None

    def __post_init__(self) -> None:
        if self.function not in ACTIVATIONS:
            raise UnsupportedLayerError(f"activation {self.function!r}; known: {', '.join(sorted(ACTIVATIONS))}")
        for value in (self.parameter, self._second):
            if type(value) not in (int, float) or not math.isfinite(value):
                raise UnsupportedLayerError(f"parameter of {self.function} must be finite, got {value!r}")
        if (self.second is not None) != (len(self._row.defaults) == 2):
            raise UnsupportedLayerError(f"{self.function} takes {len(self._row.defaults)} parameters")
        reason = self._row.refused(self.parameter, self._second)
        if reason is not None:
            raise UnsupportedLayerError(f"{self.function}: {reason}")

    @property
    def _row(self) -> Row:
        return ACTIVATIONS[self.function]

    @property
    def _second(self) -> float:
        return 0.0 if self.second is None else self.second

    @property
    def _inner(self) -> float:
        return self._row.inner(self.parameter, self._second)

    def apply(self, x: Tensor) -> Tensor:
        return self._row.apply(x, self.parameter, self._second)

    def output_shape(self, input_shape: Shape) -> Shape:
        return input_shape

    def lipschitz_upper_bound(self, input_shape: Shape) -> NormBound:
        return NormBound(self._row.lipschitz(self.parameter, self._second), "closed form")

    def rounding_term(self, input_shape: Shape, unit: float) -> RoundingTerm:
        row, count = self._row, math.prod(input_shape)
        if row.units == 0.0:
            return RoundingTerm.EXACT
        if row.largest is not None:  # whatever x is
            return RoundingTerm(0.0, row.units * row.largest * unit * math.sqrt(count) * (1 + 1e-9))
        term = elementwise_rounding(row.units * self.lipschitz_upper_bound(input_shape).value, unit, count)
        at_zero = row.units * unit * row.at_zero(self.parameter, self._second) * math.sqrt(count) * (1 + 1e-9)
        underflow = mul_up(term.absolute, max(1.0, div_up(1.0, self._inner)))
        return RoundingTerm(term.relative, add_up(underflow, at_zero))

    def float32_rounding(self, input_shape: Shape) -> Rounding:
        term, swell = self.rounding_term(input_shape, FLOAT32_UNIT), max(1.0, self._inner)
        return lambda x, y, norm: RoundingAt.by_term(term, norm, swell)

    def plain_layer(self, input_shape: Shape) -> PlainLayer:
        code = self._row.plain.replace("{p}", repr(self.parameter)).replace("{q}", repr(self._second))
        helpers = (PLAIN_SOFTPLUS,) if self.function == "softplus" else ()
        return PlainLayer(code, helpers=helpers, wraps=True)

    def describe(self) -> str:
        if self.second is not None:
            return f"{self.function}, from {self.parameter:g} to {self.second:g}"
        return f"{self.function}, parameter {self.parameter:g}" if self.parameter else self.function


@dataclass(frozen=True, eq=False)
class PReLU(Entrywise):
    """x where it is positive, else slope * x, with one slope per channel (C,). Lipschitz max(1, |slope|)."""

    kind: ClassVar[str] = "prelu"

    slope: Tensor

    def __post_init__(self) -> None:
        require_tensor(self.slope, "slope", 1)

    def apply(self, x: Tensor) -> Tensor:
        return F.prelu(x, self.slope)

    def output_shape(self, input_shape: Shape) -> Shape:
        return _check_channels(self.slope, input_shape, self.kind)

    def lipschitz_upper_bound(self, input_shape: Shape) -> NormBound:
        return NormBound(max(1.0, float(self.slope.detach().double().abs().max())), "largest slope")

    def lipschitz_estimate(self, input_shape: Shape, norms: NormEstimates) -> Tensor:
        return self.slope.abs().max().clamp_min(1.0)

    def rounding_term(self, input_shape: Shape, unit: float) -> RoundingTerm:
        return elementwise_rounding(self.lipschitz_upper_bound(input_shape).value, unit, math.prod(input_shape))

    def plain_layer(self, input_shape: Shape) -> PlainLayer:
        dtype = ", dtype=torch.float64" if self.slope.dtype == torch.float64 else ""
        return PlainLayer("F.prelu({x}, {self})", "slope", f"torch.zeros({len(self.slope)}{dtype})", is_buffer=True)

    def describe(self) -> str:
        return f"prelu, {len(self.slope)} channels"
