"""Entrywise functions: the rows of `network.operators.activations`, under the names that torch has for them."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor

from lip_plugin.errors import UnsupportedLayerError
from lip_plugin.network import Activation, PReLU
from lip_plugin.wrapping.registry import functions_named, rule
from lip_plugin.wrapping.traced import Traced, number

_PLAIN = {
    **{
        name: name
        for name in ("relu", "abs", "tanh", "sigmoid", "silu", "mish", "hardswish", "hardsigmoid", "softsign")
    },
    **{name: name for name in ("tanhshrink", "selu", "sin", "cos", "atan", "erf")},
    **{"absolute": "abs", "arctan": "atan", "expit": "sigmoid"},
}
"""torch's name -> the row, of functions without parameters."""


def _without_parameters(row: str) -> Any:
    def activate(input: Traced, inplace: bool = False) -> Traced:
        return input.then(Activation(row))

    return activate


_taken: set[int] = set()
for _name, _row in _PLAIN.items():
    _new = [function for function in functions_named(_name) if id(function) not in _taken]
    _taken |= {id(function) for function in _new}
    rule(*_new)(_without_parameters(_row))

_log_sigmoid: Any = F.logsigmoid
rule(_log_sigmoid)(_without_parameters("log_sigmoid"))


@rule("leaky_relu")
def _leaky_relu(input: Traced, negative_slope: float = 0.01, inplace: bool = False) -> Traced:
    return input.then(Activation("leaky_relu", number(negative_slope, "the slope")))


@rule("rrelu")
def _rrelu(
    input: Traced, lower: float = 1 / 8, upper: float = 1 / 3, training: bool = False, inplace: bool = False
) -> Traced:
    if training:
        raise UnsupportedLayerError("draws its slopes at random, also in eval mode; pass training=self.training")
    return input.then(Activation("leaky_relu", (lower + upper) / 2))


@rule("elu")
def _elu(input: Traced, alpha: float = 1.0, inplace: bool = False) -> Traced:
    return input.then(Activation("elu", number(alpha, "alpha")))


@rule("celu")
def _celu(input: Traced, alpha: float = 1.0, inplace: bool = False) -> Traced:
    return input.then(Activation("celu", number(alpha, "alpha")))


@rule("gelu")
def _gelu(input: Traced, approximate: str = "none") -> Traced:
    return input.then(Activation("gelu" if approximate == "none" else "gelu_tanh"))


@rule("softplus")
def _softplus(input: Traced, beta: float = 1.0, threshold: float = 20.0) -> Traced:
    if number(threshold, "the threshold") < 20:
        raise UnsupportedLayerError(f"Softplus jumps at its threshold {threshold}; use 20, torch's default, or more")
    return input.then(Activation("softplus", number(beta, "beta")))


@rule("softshrink")
def _softshrink(input: Traced, lambd: float = 0.5) -> Traced:
    return input.then(Activation("softshrink", number(lambd, "lambda")))


@rule("relu6")
def _relu6(input: Traced, inplace: bool = False) -> Traced:
    return input.then(Activation("hardtanh", 0.0, 6.0))


@rule("hardtanh")
def _hardtanh(input: Traced, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> Traced:
    return input.then(Activation("hardtanh", number(min_val, "the lower end"), number(max_val, "the upper end")))


@rule("clamp", "clip")
def _clamp(input: Traced, min: Any = None, max: Any = None) -> Traced:
    if min is not None and max is not None:
        return _hardtanh(input, min, max)
    if min is not None:
        return _clamp_min(input, min)
    return input if max is None else input.then(Activation("clamp_max", number(max, "the upper end")))


@rule("clamp_min")
def _clamp_min(input: Traced, min: Any) -> Traced:
    if isinstance(min, Traced):
        raise UnsupportedLayerError(
            "takes the larger of two activations; only MaxMin over pairs of channels is bounded"
        )
    low = number(min, "the lower end")
    return input.then(Activation("relu") if low == 0.0 else Activation("clamp_min", low))


@rule("threshold", F._threshold)  # pyright: ignore[reportPrivateUsage, reportUnknownMemberType, reportUnknownArgumentType, reportAttributeAccessIssue]
def _threshold(input: Traced, threshold: float, value: float, inplace: bool = False) -> Traced:
    if number(threshold, "the threshold") != number(value, "the value"):
        raise UnsupportedLayerError(
            f"Threshold({threshold}, {value}) jumps at its threshold, where no Lipschitz bound exists; "
            "use the same number for both"
        )
    return _clamp_min(input, threshold)


@rule("prelu")
def _prelu(input: Traced, weight: Tensor) -> Traced:
    slope = input.held(weight, "slopes")
    if slope.numel() == 1 and input.session.live:
        slope = slope.expand(input.features[0])
    elif slope.numel() == 1:
        return input.then(Activation("leaky_relu", float(slope)))
    return input.then(PReLU(slope.flatten()))
