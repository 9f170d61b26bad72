"""Outward rounding: float64 arithmetic whose result is never below (``up``) the real-number result.

Round-to-nearest puts the computed value of one operation within half a spacing of the exact one, so the next
float above it is an upper bound, subnormal results included. Sums of n terms use Higham's ``gamma(n)``
(Accuracy and Stability of Numerical Algorithms, 2nd ed., section 3.1), valid for every order of summation
and with or without fused multiply-add.
"""

from __future__ import annotations

import math
import sys

import torch
from torch import Tensor

from lip_plugin.errors import ConfigError, UnsupportedLayerError

U = 2.0**-53
"""Unit roundoff of float64."""

UNDERFLOW = 2.0**-1000
"""Far above any sum of underflow errors (each at most 2**-1074) of data whose largest entry is near 1."""


def up(x: float) -> float:
    """The next float above ``x``: an upper bound of the exact value that was rounded to ``x``."""
    return math.nextafter(x, math.inf)


def down(x: float) -> float:
    """The next float below ``x``: a lower bound of the exact value that was rounded to ``x``."""
    return math.nextafter(x, -math.inf)


def add_up(*terms: float) -> float:
    """Upper bound of the sum; exact where all but one term are zero."""
    total = 0.0
    for term in terms:
        total = total + term if total == 0.0 or term == 0.0 else up(total + term)
    return total


def mul_up(*factors: float) -> float:
    """Upper bound of the product of non-negative factors; exactly 0 where a factor is 0."""
    if 0.0 in factors:
        return 0.0
    product = 1.0
    for factor in factors:
        product = product * factor if product == 1.0 or factor == 1.0 else up(product * factor)
    return product


def div_up(x: float, y: float) -> float:
    """Upper bound of ``x / y`` for ``x >= 0`` and ``y > 0``."""
    return 0.0 if x == 0.0 else up(x / y)


def sqrt_up(x: float) -> float:
    """Upper bound of the square root of ``x >= 0``."""
    return 0.0 if x == 0.0 else up(math.sqrt(x))


def ldexp_up(x: float, exponent: int) -> float:
    """Upper bound of ``x * 2**exponent`` for ``x >= 0``; infinity where that overflows."""
    if x == 0.0:
        return 0.0
    try:
        return up(math.ldexp(x, exponent))
    except OverflowError:
        return math.inf


def gamma(n: int) -> float:
    """Upper bound of ``n u / (1 - n u)``: the relative error of a float64 dot product of n terms.

    Raises:
        ConfigError: ``n u >= 1``, where the bound does not exist.
    """
    nu = n * U  # exact: n < 2**53 is checked through the product
    if not 0.0 <= nu < 1.0:
        raise ConfigError(f"gamma(n) needs 0 <= n < 2**53, got n = {n}")
    return 0.0 if n == 0 else up(nu / down(1.0 - nu))


def require_ieee_arithmetic() -> None:
    """Refuse the two float modes in which no bound here is proved.

    Raises:
        ConfigError: subnormals are flushed to zero, or rounding is not to nearest.
    """
    smallest = sys.float_info.min
    if smallest / 2 == 0.0:
        raise ConfigError("bounds need subnormal numbers: call torch.set_flush_denormal(False)")
    one = smallest / smallest
    if one + U / 2 != 1.0 or one - U / 4 != 1.0:
        raise ConfigError("bounds need float64 rounding to nearest, found a directed rounding mode")


def exact_float64(tensor: Tensor, what: str = "weight") -> Tensor:
    """``tensor`` on the CPU as float64 (complex128): an exact conversion, cut off from autograd.

    Raises:
        UnsupportedLayerError: not floating point, or a NaN or infinity is among the entries.
    """
    if not (tensor.is_floating_point() or tensor.is_complex()):
        raise UnsupportedLayerError(f"{what} must be floating point, got {tensor.dtype}: convert it first")
    wide = tensor.detach().cpu().to(torch.complex128 if tensor.is_complex() else torch.float64)
    if not bool(torch.isfinite(_real_parts(wide)).all()):
        raise UnsupportedLayerError(f"{what} has NaN or infinite entries: no norm bound exists, repair the weights")
    return wide


def _real_parts(tensor: Tensor) -> Tensor:
    """A complex tensor as a real one with a last axis of length 2; a real tensor as it is."""
    return torch.view_as_real(tensor.resolve_conj()) if tensor.is_complex() else tensor


def largest_entry(tensor: Tensor) -> float:
    """Largest absolute real or imaginary part, exactly; 0 for an empty tensor."""
    return float(_real_parts(tensor).abs().max()) if tensor.numel() else 0.0


def times_power_of_two(tensor: Tensor, exponent: int) -> Tensor:
    """``tensor * 2**exponent``, exact unless an entry becomes subnormal (error at most 2**-1074 each)."""
    half = exponent // 2  # two steps: 2**1074 alone would overflow
    return tensor * 2.0**half * 2.0 ** (exponent - half)


def unit_scaled(tensor: Tensor) -> tuple[Tensor, int]:
    """``(scaled, exponent)`` with ``tensor = scaled * 2**exponent`` and the largest entry in [0.5, 1)."""
    exponent = math.frexp(largest_entry(tensor))[1]
    return times_power_of_two(tensor, -exponent), exponent


def norms_upper_bound(rows: Tensor, *, extra_roundings: int = 0) -> Tensor:
    """Upper bounds (R,) of the 2-norms of real float64 rows (R, N), whose entries carry ``extra_roundings`` each.

    A term of a sum of squares sees its square, N additions, the root and a product. Squares that underflow, or have
    few digits left, add up to less than N 2**-1022: nothing beside a sum above 2**-800. gamma(2 N + 16) covers it all.
    Exactly 0 for a zero row; infinite only where a float overflows, NaN where an entry is no number.
    """
    if rows.shape[1] == 0:
        return rows.new_zeros(rows.shape[0])
    relative = 1.0 + gamma(2 * rows.shape[1] + 16 + 2 * extra_roundings)
    above = torch.linalg.vector_norm(rows, dim=1) * relative
    plain = (above > 2.0**-400) & (above < 2.0**400)
    if not bool(plain.all()):
        above[~plain] = _scaled_norms_upper_bound(rows[~plain], relative)
    return above


def _scaled_norms_upper_bound(rows: Tensor, relative: float) -> Tensor:
    """`norms_upper_bound` of rows whose squares may leave the range: each is divided by its largest entry first."""
    absolute = rows.abs()
    largest = absolute.amax(dim=1)
    ratios = absolute.div_(largest.clamp_min(math.ulp(0.0)).unsqueeze(1))
    above = largest * ratios.mul_(ratios).sum(dim=1).sqrt() * relative
    for _ in range(3):  # the products above may have been subnormal, where the error is absolute
        above = torch.nextafter(above, torch.full_like(above, math.inf))
    return torch.where(largest == 0, torch.zeros_like(above), above)


def frobenius_upper_bounds(tensor: Tensor) -> Tensor:
    """Upper bounds (B,) in float64 of the Frobenius norms of a batch (B, ...), real or complex; 0 for a zero entry."""
    real = _real_parts(exact_float64(tensor))
    return norms_upper_bound(real.reshape(real.shape[0], -1) if real.numel() else real.new_zeros(real.shape[0], 0))


def frobenius_upper_bound(tensor: Tensor) -> float:
    """Upper bound of the Frobenius norm of a tensor of any shape; exactly 0 for a zero tensor."""
    return float(frobenius_upper_bounds(tensor.reshape(1, -1))[0])


def row_norms_upper_bound(matrix: Tensor) -> Tensor:
    """Upper bounds (R,) in float64 of the 2-norms of the rows of a matrix (R, C)."""
    if matrix.ndim != 2:
        raise UnsupportedLayerError(f"row norms need a matrix, got shape {tuple(matrix.shape)}")
    return frobenius_upper_bounds(matrix)


def abs_norm_upper_bound(matrix: Tensor) -> float:
    """Upper bound of the spectral norm of ``|W|`` (absolute values taken entry by entry), W of shape (R, C).

    The smaller of the Frobenius norm and sqrt(largest absolute row sum * largest absolute column sum).
    """
    if matrix.ndim != 2:
        raise UnsupportedLayerError(f"the norm of |W| needs a matrix, got shape {tuple(matrix.shape)}")
    if matrix.numel() == 0:
        return 0.0
    scaled, exponent = unit_scaled(exact_float64(matrix))
    absolute = scaled.abs()
    slack = up(1.0 + gamma(max(matrix.shape) + 8))
    row = mul_up(float(absolute.sum(dim=1).max()), slack)
    column = mul_up(float(absolute.sum(dim=0).max()), slack)
    through_sums = ldexp_up(add_up(sqrt_up(mul_up(row, column)), UNDERFLOW) if row else 0.0, exponent)
    return min(frobenius_upper_bound(matrix), through_sums)
