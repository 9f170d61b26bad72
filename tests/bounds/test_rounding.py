"""Outward rounding against exact rational arithmetic."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable
from fractions import Fraction

import pytest
import torch

from lip_plugin.bounds.bound import NormBound
from lip_plugin.bounds.rounding import (
    U,
    abs_norm_upper_bound,
    add_up,
    div_up,
    down,
    exact_float64,
    frobenius_upper_bound,
    frobenius_upper_bounds,
    gamma,
    ldexp_up,
    mul_up,
    require_ieee_arithmetic,
    row_norms_upper_bound,
    sqrt_up,
    unit_scaled,
    up,
)
from lip_plugin.errors import ConfigError, UnsupportedLayerError


def positive_floats(count: int) -> list[float]:
    """Non-negative floats over the whole range: ordinary, huge, tiny and subnormal."""
    source = random.Random(0)
    ordinary = [source.uniform(0, 2) * 10.0 ** source.randint(-12, 12) for _ in range(count)]
    extreme = [math.ldexp(source.random(), source.randint(-1073, -900)) for _ in range(count)]
    return [0.0, 5e-324, 1.0, 0.1, *ordinary, *extreme]


def fraction_sum(values: Iterable[float | Fraction]) -> Fraction:
    return sum((Fraction(v) for v in values), Fraction(0))


def test_scalar_operations_never_fall_below_the_exact_result() -> None:
    values = positive_floats(60)
    for x in values:
        assert Fraction(sqrt_up(x)) ** 2 >= Fraction(x)
        for y in values:
            assert Fraction(add_up(x, y)) >= Fraction(x) + Fraction(y)
            assert Fraction(mul_up(x, y)) >= Fraction(x) * Fraction(y)
            quotient = math.inf if y == 0 or (x and math.log2(x) - math.log2(y) > 1020) else div_up(x, y)
            assert quotient == math.inf or Fraction(quotient) >= Fraction(x) / Fraction(y)


def test_plain_float_operations_do_fall_below() -> None:
    """The check above can fail: without the outward step it does, many times."""
    values = positive_floats(60)
    low = sum(Fraction(x * y) < Fraction(x) * Fraction(y) for x in values for y in values)
    assert low > 100


def test_chained_operations_and_tightness() -> None:
    values = positive_floats(60)[:40]
    exact = fraction_sum(values)
    assert exact <= Fraction(add_up(*values)) <= exact * (1 + Fraction(1, 10**13))
    product = Fraction(1)
    for v in values[2:12]:
        product *= Fraction(v)
    assert product <= Fraction(mul_up(*values[2:12])) <= product * (1 + Fraction(1, 10**13)) + Fraction(5e-324)


def test_zero_and_one_stay_exact() -> None:
    assert add_up(0.0, 0.0) == 0.0 and add_up(0.0, 0.3, 0.0) == 0.3
    assert mul_up(0.0, 7.0) == 0.0 and mul_up(1.0, 0.3, 1.0) == 0.3
    assert sqrt_up(0.0) == 0.0 and div_up(0.0, 3.0) == 0.0 and ldexp_up(0.0, 10) == 0.0
    assert up(1.0) == 1.0 + 2 * U and down(1.0) == 1.0 - U


def test_ldexp_up_at_the_ends_of_the_range() -> None:
    assert ldexp_up(0.75, 2000) == math.inf
    assert Fraction(ldexp_up(0.7, -1074)) >= Fraction(0.7) * Fraction(1, 2**1074)
    assert ldexp_up(0.75, 10) == math.nextafter(768.0, math.inf)


@pytest.mark.parametrize("n", [0, 1, 2, 1000, 10**9, 2**52])
def test_gamma_is_above_its_definition(n: int) -> None:
    nu = Fraction(n, 2**53)
    assert nu / (1 - nu) <= Fraction(gamma(n)) <= nu / (1 - nu) * (1 + Fraction(1, 10**15))


@pytest.mark.parametrize("n", [-1, 2**53, 2**60])
def test_gamma_refuses_counts_without_a_bound(n: int) -> None:
    with pytest.raises(ConfigError, match=r"2\*\*53"):
        gamma(n)


def test_flushed_subnormals_are_refused() -> None:
    require_ieee_arithmetic()
    if not torch.set_flush_denormal(True):
        pytest.skip("this CPU cannot flush subnormals")
    try:
        with pytest.raises(ConfigError, match="flush_denormal"):
            require_ieee_arithmetic()
    finally:
        torch.set_flush_denormal(False)


@pytest.mark.parametrize("scale", [1.0, 1e-150, 1e150, 1e-300, 1e-315])
def test_frobenius_and_row_norms_against_fractions(scale: float) -> None:
    generator = torch.Generator().manual_seed(1)
    matrix = torch.randn(7, 13, generator=generator, dtype=torch.float64) * scale
    matrix[3] *= 1e-9  # a row whose squares underflow at small scales
    matrix[4] = 0.0
    squares = [fraction_sum(Fraction(v) ** 2 for v in row) for row in matrix.tolist()]
    for bound, square in zip(row_norms_upper_bound(matrix).tolist(), squares, strict=True):
        assert Fraction(bound) ** 2 >= square
        assert bound <= math.sqrt(square / Fraction(scale) ** 2) * scale * (1 + 1e-13) + 5 * 5e-324
    assert row_norms_upper_bound(matrix)[4] == 0.0
    assert Fraction(frobenius_upper_bound(matrix)) ** 2 >= sum(squares)


def test_slack_grows_with_the_number_of_terms_as_the_theorem_asks() -> None:
    """A sum of n squares may be off by gamma(n) and its root by half of that, in the worst order of summation."""
    for count in (10, 1000, 10**6):
        exact = math.isqrt(count * 10**40) / 10**20
        bound = frobenius_upper_bound(torch.ones(count))
        assert exact * (1 + count * U / 2) <= bound <= exact * (1 + 4 * (count + 16) * U)


def test_frobenius_of_complex_empty_and_zero_batches() -> None:
    z = torch.tensor([[3.0 + 4.0j, 0.0], [0.0, 0.0]], dtype=torch.complex128)
    bounds = frobenius_upper_bounds(z)
    assert 5.0 <= float(bounds[0]) <= 5.0 * (1 + 1e-13) and float(bounds[1]) == 0.0
    assert frobenius_upper_bounds(torch.zeros(3, 0)).tolist() == [0.0, 0.0, 0.0]
    assert frobenius_upper_bound(torch.zeros(0)) == 0.0


@pytest.mark.parametrize("shape", [(1, 1), (5, 9), (30, 4)])
@pytest.mark.parametrize("scale", [1.0, 1e-150, 1e150])
def test_norm_of_absolute_values(shape: tuple[int, int], scale: float) -> None:
    generator = torch.Generator().manual_seed(2)
    matrix = torch.randn(*shape, generator=generator, dtype=torch.float64)
    exact = float(torch.linalg.svdvals(matrix.abs())[0])
    bound = abs_norm_upper_bound(matrix * scale) / scale
    assert exact * (1 - 1e-14) <= bound <= float(torch.linalg.vector_norm(matrix)) * (1 + 1e-12)


def test_norm_of_absolute_values_is_exact_on_constant_matrices() -> None:
    assert 12.0 <= abs_norm_upper_bound(-torch.ones(9, 16)) <= 12.0 * (1 + 1e-13)
    assert abs_norm_upper_bound(torch.zeros(3, 4)) == 0.0 == abs_norm_upper_bound(torch.zeros(0, 4))
    with pytest.raises(UnsupportedLayerError, match="matrix"):
        abs_norm_upper_bound(torch.ones(3))


@pytest.mark.parametrize("scale", [5e-324, 1e-310, 1e-150, 1.0, 1e150, 1e308])
def test_scaling_by_a_power_of_two_is_exact(scale: float) -> None:
    scaled, exponent = unit_scaled(torch.tensor([scale, -scale], dtype=torch.float64))
    assert 0.5 <= float(scaled[0]) < 1.0
    assert Fraction(float(scaled[0])) * Fraction(2) ** exponent == Fraction(scale)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_non_finite_entries_are_refused(bad: float) -> None:
    with pytest.raises(UnsupportedLayerError, match="NaN or infinite"):
        exact_float64(torch.tensor([1.0, bad]))
    with pytest.raises(UnsupportedLayerError, match="finite number"):
        NormBound(bad, "test")


def test_negative_bounds_and_integer_tensors_are_refused() -> None:
    with pytest.raises(UnsupportedLayerError, match=">= 0"):
        NormBound(-1e-300, "test")
    with pytest.raises(UnsupportedLayerError, match="floating point"):
        exact_float64(torch.ones(2, dtype=torch.int64))
