"""Sums, differences, products and quotients with fixed numbers, and the sum of two branches."""

from __future__ import annotations

from typing import Any

from lip_plugin.errors import UnsupportedLayerError
from lip_plugin.wrapping.branches import joined
from lip_plugin.wrapping.registry import rule
from lip_plugin.wrapping.traced import Traced, number


@rule("add", "__add__", "__radd__", "__iadd__")
def _add(input: Any, other: Any, *, alpha: float = 1) -> Traced:
    if isinstance(input, Traced) and isinstance(other, Traced):
        return joined(input, other if alpha == 1 else other.scaled(alpha))
    traced, value = _sorted(input, other)
    if isinstance(input, Traced):
        return traced.shifted(value if alpha == 1 else value * alpha)
    return (traced if alpha == 1 else traced.scaled(alpha)).shifted(value)


@rule("sub", "subtract", "__sub__", "__isub__")
def _sub(input: Any, other: Any, *, alpha: float = 1) -> Traced:
    if isinstance(input, Traced) and isinstance(other, Traced):
        return joined(input, other.scaled(-alpha))
    if isinstance(input, Traced):
        return input.shifted(-(other * alpha))
    return other.scaled(-alpha).shifted(input)


@rule("rsub", "__rsub__")
def _rsub(input: Traced, other: Any, *, alpha: float = 1) -> Traced:
    return _sub(other, input, alpha=alpha)


@rule("mul", "multiply", "__mul__", "__rmul__", "__imul__")
def _mul(input: Any, other: Any) -> Traced:
    if isinstance(input, Traced) and isinstance(other, Traced):
        raise UnsupportedLayerError(
            "multiplies two activations, for which no Lipschitz bound over all images exists; "
            "replace the product (a gate, attention, a square) by a sum, or by a fixed factor"
        )
    traced, value = _sorted(input, other)
    return traced.scaled(value)


@rule("div", "divide", "true_divide", "__truediv__", "__itruediv__")
def _div(input: Any, other: Any, *, rounding_mode: str | None = None) -> Traced:
    if not isinstance(input, Traced) or isinstance(other, Traced) or rounding_mode is not None:
        raise UnsupportedLayerError(
            "divides by an activation, or rounds a quotient; no Lipschitz bound over all images exists: "
            "divide by fixed numbers"
        )
    return input.scaled(other, reciprocal=True)


@rule("__rdiv__", "__rtruediv__", "reciprocal")
def _rdiv(input: Traced, other: Any = None) -> Traced:
    raise UnsupportedLayerError(
        "divides by an activation, for which no Lipschitz bound exists; divide by fixed numbers"
    )


@rule("neg", "negative", "__neg__")
def _neg(input: Traced) -> Traced:
    return input.scaled(-1.0)


@rule("positive", "__pos__")
def _pos(input: Traced) -> Traced:
    return input


@rule("pow", "__pow__")
def _pow(input: Traced, exponent: Any) -> Traced:
    if number(exponent, "the exponent") == 1.0:
        return input
    raise UnsupportedLayerError(
        f"raises an activation to the power {exponent}, which has no Lipschitz bound; use abs()"
    )


def _sorted(one: Any, other: Any) -> tuple[Traced, Any]:
    """The activation first."""
    return (one, other) if isinstance(one, Traced) else (other, one)


@rule("addcmul")
def _addcmul(input: Any, tensor1: Any, tensor2: Any, *, value: float = 1) -> Any:
    return _add(input, _product(tensor1, tensor2), alpha=value)


@rule("addcdiv")
def _addcdiv(input: Any, tensor1: Any, tensor2: Any, *, value: float = 1) -> Any:
    return _add(input, _quotient(tensor1, tensor2), alpha=value)


@rule("lerp")
def _lerp(input: Any, end: Any, weight: Any) -> Any:
    """(1 - weight) input + weight end, as one sum of two scaled ones."""
    return _add(_product(input, 1 - weight), _product(end, weight))


def _product(one: Any, other: Any) -> Any:
    return _mul(one, other) if isinstance(one, Traced) or isinstance(other, Traced) else one * other


def _quotient(one: Any, other: Any) -> Any:
    return _div(one, other) if isinstance(one, Traced) or isinstance(other, Traced) else one / other
