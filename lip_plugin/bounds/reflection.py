"""Norms of I - U U^H, the shape of block reflections, one matrix U (C, r) per frequency.

I - U U^H is Hermitian with eigenvalues 1 - s^2, s the singular values of U, and 1 where r < C. Hence

    ||I - U U^H|| <= max(1, ||U||^2 - 1),

and one verified Cholesky factorisation of c^2 I - U^H U per frequency proves ||U|| <= c. It is the case M = I of
W = I - V M V^H, whose W^H W = I - V (2 M - M G M) V^H with G = V^H V: a positive definite M goes into U = V M^{1/2}.
For a block reflection (Lai et al., ICML 2025) M = 2 (V^H V)^{-1}, so that U^H U = 2 I but for rounding.

A complex matrix is kept as a real one (2 C, r), its real parts above its imaginary parts. Letters: F frequencies.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lip_plugin.bounds.bound import NormBound
from lip_plugin.bounds.rounding import (
    UNDERFLOW,
    add_up,
    exact_float64,
    frobenius_upper_bounds,
    gamma,
    ldexp_up,
    mul_up,
    sqrt_up,
    unit_scaled,
    up,
)
from lip_plugin.bounds.verified import spectral_norm_upper_bound

_BELOW_ROOT_2 = math.nextafter(math.sqrt(2.0), 0.0)
"""Its square is below 2: a smaller norm of U changes nothing."""


def reflection_norm_upper_bound(factor: Tensor) -> NormBound:
    """Upper bound of the largest ||I - U U^H|| in a batch of factors (F, 2 C, r).

    Raises:
        UnsupportedLayerError: non-finite entries.
    """
    real, imaginary = exact_float64(factor).chunk(2, dim=1)
    norm = spectral_norm_upper_bound(torch.complex(real, imaginary), at_least=_BELOW_ROOT_2)
    return NormBound(max(1.0, add_up(mul_up(norm, norm), -1.0)), "verified Cholesky at every frequency")


def absolute_norms_upper_bound(batch: Tensor) -> float:
    """Upper bound of the largest || |A| ||_2 in a batch (F, m, n): root of largest row sum times largest column sum."""
    scaled, exponent = unit_scaled(exact_float64(batch))
    absolute = scaled.abs()
    products = absolute.sum(dim=2).amax(dim=1) * absolute.sum(dim=1).amax(dim=1)
    grown = up(1.0 + gamma(2 * max(batch.shape[1:]) + 8))
    return ldexp_up(add_up(sqrt_up(mul_up(float(products.max()), grown)), UNDERFLOW), exponent)


def factor_norm_upper_bound(factor: Tensor) -> float:
    """Upper bound of the largest ||U|| in (F, 2 C, r) by the largest absolute row sum of U^H U: no factorisation.

    Tight where the columns of every U are nearly orthogonal. Entries of U^H U are real dot products of 2 C terms, so
    that it is off by at most 2 gamma(2 C) |U|^H |U| entry by entry, hence in the norm by 2 gamma(2 C) ||U||_F^2.
    Where r > C it is U U^H, which has the same norm: nothing is built that is larger than what was stored.
    """
    scaled, exponent = unit_scaled(exact_float64(factor))
    real, imaginary = scaled.chunk(2, dim=1)
    if real.shape[2] > real.shape[1]:
        real, imaginary = real.mT, -imaginary.mT
        scaled = torch.cat([real, imaginary], dim=1)
    turned = torch.cat([imaginary, -real], dim=1)
    gram = (scaled.mT @ scaled).abs() + (scaled.mT @ turned).abs()
    sums = float(gram.sum(dim=2).max()) * up(1.0 + gamma(scaled.shape[2] + 4))
    frobenius = float(frobenius_upper_bounds(scaled).max())
    error = mul_up(2.0, gamma(scaled.shape[1] + 4), frobenius, frobenius)
    return ldexp_up(add_up(sqrt_up(add_up(up(sums), error)), UNDERFLOW), exponent)
