"""Rounding terms that several operators share."""

from __future__ import annotations

from torch import Tensor

from lip_plugin.bounds.rounding import add_up, div_up, down, frobenius_upper_bound, mul_up, sqrt_up
from lip_plugin.errors import ConfigError
from lip_plugin.network.operators.base import FLOAT32_UNIT, RoundingTerm

_SMALLEST_SUBNORMAL = {2.0**-53: 2.0**-1074, FLOAT32_UNIT: 2.0**-149}


def gamma_upper_bound(count: int, unit: float) -> float:
    """n u / (1 - n u): relative error of a sum of n terms in arithmetic with unit roundoff u, in any order.

    Raises ConfigError where n u >= 1 and no such bound exists.
    """
    product = mul_up(float(count), unit)
    if product >= 1.0:
        raise ConfigError(f"a sum of {count} terms has no rounding bound at unit roundoff {unit}")
    return div_up(product, down(1.0 - product))


def underflow_upper_bound(unit: float, count: int, outputs: int) -> float:
    """Norm of the absolute error of ``count`` products that may underflow, over ``outputs`` entries."""
    return mul_up(float(count + 2), _SMALLEST_SUBNORMAL.get(unit, 1e-30), sqrt_up(float(outputs)), 2.0)


def bias_norm_upper_bound(bias: Tensor | None, *, repeats: int = 1) -> float:
    """||b||_2 of a bias that is repeated over ``repeats`` positions."""
    return 0.0 if bias is None else mul_up(frobenius_upper_bound(bias), sqrt_up(float(repeats)))


def affine_rounding(absolute_norm: float, bias_norm: float, unit: float, *, outputs: int, fan_in: int) -> RoundingTerm:
    """y = A x + b by dot products in any order: |error| <= gamma (|A| |x| + |b|) + underflow."""
    gamma = gamma_upper_bound(fan_in + 2, unit)
    underflow = underflow_upper_bound(unit, fan_in, outputs)
    return RoundingTerm(mul_up(gamma, absolute_norm), add_up(mul_up(gamma, bias_norm), underflow))


def elementwise_rounding(relative: float, unit: float, entries: int) -> RoundingTerm:
    """An error of ``relative`` units per entry, relative to |x|."""
    return RoundingTerm(mul_up(relative, unit), underflow_upper_bound(unit, 1, entries))
