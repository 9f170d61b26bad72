"""Operators that act on every entry by itself: shifts, channel scales, activations."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from lip_plugin.bounds import NormBound
from lip_plugin.errors import UnsupportedLayerError
from lip_plugin.network.operators.base import Operator, RoundingTerm, Windows, require_tensor
from lip_plugin.network.operators.plain_layer import PlainLayer
from lip_plugin.network.operators.rounding import bias_norm_upper_bound, elementwise_rounding
from lip_plugin.types import Shape


def _per_channel(values: Tensor, x: Tensor) -> Tensor:
    """(C,) or () as a factor for (B, C, ...)."""
    return values if values.dim() == 0 else values.view(-1, *[1] * (x.dim() - 2))


def _require_channels(values: object, name: str) -> None:
    require_tensor(values, name, min(values.dim(), 1) if isinstance(values, Tensor) else 1)


def _plain(values: Tensor, name: str, sign: str, input_shape: Shape) -> PlainLayer:
    size = "()" if values.dim() == 0 else str(len(values))
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
class Offset(Operator):
    """y = x + offset, offset a scalar () or per channel (C,). Lipschitz 1."""

    kind: ClassVar[str] = "offset"

    offset: Tensor

    def __post_init__(self) -> None:
        _require_channels(self.offset, "offset")

    def apply(self, x: Tensor) -> Tensor:
        return x + _per_channel(self.offset, x)

    def output_shape(self, input_shape: Shape) -> Shape:
        return _check_channels(self.offset, input_shape, self.kind)

    def lipschitz_upper_bound(self, input_shape: Shape) -> NormBound:
        return NormBound(1.0, "translation")

    def rounding_term(self, input_shape: Shape, unit: float) -> RoundingTerm:
        repeats = math.prod(input_shape) // max(self.offset.numel(), 1)
        return RoundingTerm(unit, 2.0 * unit * bias_norm_upper_bound(self.offset.reshape(-1), repeats=repeats))

    def windows(self, input_shape: Shape) -> tuple[Windows, ...]:
        return ()

    def work(self, input_shape: Shape) -> int:
        return math.prod(input_shape)

    def plain_layer(self, input_shape: Shape) -> PlainLayer:
        return _plain(self.offset, self.kind, "+", input_shape)

    def describe(self) -> str:
        return f"offset, {_channels(self.offset)}"


@dataclass(frozen=True, eq=False)
class Scale(Operator):
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

    def rounding_term(self, input_shape: Shape, unit: float) -> RoundingTerm:
        return elementwise_rounding(self.lipschitz_upper_bound(input_shape).value, unit, math.prod(input_shape))

    def windows(self, input_shape: Shape) -> tuple[Windows, ...]:
        return ()

    def work(self, input_shape: Shape) -> int:
        return math.prod(input_shape)

    def plain_layer(self, input_shape: Shape) -> PlainLayer:
        return _plain(self.scale, self.kind, "*", input_shape)

    def describe(self) -> str:
        return f"scale, {_channels(self.scale)}"


_ACTIVATIONS: dict[str, tuple[Callable[[Tensor, float], Tensor], Callable[[float], float]]] = {
    # name: (function of x and the parameter, Lipschitz constant of the parameter); all but sigmoid map 0 to 0
    "relu": (lambda x, _: F.relu(x), lambda _: 1.0),
    "abs": (lambda x, _: x.abs(), lambda _: 1.0),
    "leaky_relu": (lambda x, slope: F.leaky_relu(x, slope), lambda slope: max(1.0, abs(slope))),
    "elu": (lambda x, alpha: F.elu(x, alpha), lambda alpha: max(1.0, abs(alpha))),
    "tanh": (lambda x, _: torch.tanh(x), lambda _: 1.0),
    "sigmoid": (lambda x, _: torch.sigmoid(x), lambda _: 0.25),
}
# Units in the last place granted to the tensor library's transcendental functions (trusted base).
# leaky_relu: the product, and in float32 the slope, which is given in double.
_ACTIVATION_UNITS = {"relu": 0.0, "abs": 0.0, "leaky_relu": 2.0, "elu": 8.0, "tanh": 8.0, "sigmoid": 8.0}


@dataclass(frozen=True, eq=False)
class Activation(Operator):
    """An entrywise function by name; ``parameter`` is the slope (leaky_relu) or alpha (elu)."""

    kind: ClassVar[str] = "activation"

    function: str
    parameter: float = 0.0

    def __post_init__(self) -> None:
        if self.function not in _ACTIVATIONS:
            raise UnsupportedLayerError(f"activation {self.function!r}; known: {', '.join(sorted(_ACTIVATIONS))}")
        if type(self.parameter) not in (int, float) or not math.isfinite(self.parameter):
            raise UnsupportedLayerError(f"parameter of {self.function} must be finite, got {self.parameter!r}")

    def apply(self, x: Tensor) -> Tensor:
        return _ACTIVATIONS[self.function][0](x, self.parameter)

    def output_shape(self, input_shape: Shape) -> Shape:
        return input_shape

    def lipschitz_upper_bound(self, input_shape: Shape) -> NormBound:
        return NormBound(_ACTIVATIONS[self.function][1](self.parameter), "closed form")

    def rounding_term(self, input_shape: Shape, unit: float) -> RoundingTerm:
        units, count = _ACTIVATION_UNITS[self.function], math.prod(input_shape)
        if units == 0.0:
            return RoundingTerm.EXACT
        if self.function == "sigmoid":  # values in [0, 1] whatever x is
            return RoundingTerm(0.0, units * unit * math.sqrt(count) * (1 + 1e-9))
        return elementwise_rounding(units * self.lipschitz_upper_bound(input_shape).value, unit, count)

    def windows(self, input_shape: Shape) -> tuple[Windows, ...]:
        return ()

    def work(self, input_shape: Shape) -> int:
        return math.prod(input_shape)

    def plain_layer(self, input_shape: Shape) -> PlainLayer:
        parameter = f", {self.parameter!r}" if self.function in ("leaky_relu", "elu") else ""
        module = "F" if self.function in ("relu", "leaky_relu", "elu") else "torch"
        return PlainLayer(f"{module}.{self.function}({{x}}{parameter})", wraps=True)

    def describe(self) -> str:
        return f"{self.function}, parameter {self.parameter:g}" if self.parameter else self.function
