"""Rounding terms: above the float32 error against float64 and the float64 error against fractions, not absurdly."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import pytest
import torch
from torch import Tensor

from lip_plugin.errors import ConfigError
from lip_plugin.network import (
    Activation,
    AvgPool,
    CertifiedClassifier,
    Conv,
    Dense,
    L2Pool,
    Offset,
    Operator,
    Scale,
)
from lip_plugin.network.operators.rounding import gamma_upper_bound

Randn = Callable[..., Tensor]
U32, U64 = 2.0**-24, 2.0**-53
IMAGE = (4, 8, 8)

# name: (operator over float32 tensors, input shape); the tensors are drawn by the callable
OPERATORS: dict[str, tuple[Callable[[Randn], Operator], tuple[int, ...]]] = {
    "conv": (lambda r: Conv(r(6, 4, 3, 3), r(6), padding=(1, 1, 1, 1)), IMAGE),
    "conv strided groups": (lambda r: Conv(r(4, 2, 4, 2), r(4), (2, 1), (1, 2, 0, 1), (1, 2), 2), IMAGE),
    "conv circular": (lambda r: Conv(r(3, 4, 3, 3), None, (3, 2), (2, 2, 2, 2), padding_mode="circular"), IMAGE),
    "conv tiny weights": (lambda r: Conv(1e-30 * r(3, 4, 3, 3), None), IMAGE),
    "dense": (lambda r: Dense(r(9, 64), r(9)), (64,)),
    "dense large bias": (lambda r: Dense(r(9, 64), 1e4 * r(9)), (64,)),
    "offset": (lambda r: Offset(r(4)), IMAGE),
    "offset large": (lambda r: Offset(torch.tensor(1000.123)), IMAGE),
    "scale": (lambda r: Scale(r(4)), IMAGE),
    "average pool": (lambda r: AvgPool((3, 3), (2, 1), (1, 1)), IMAGE),
    "l2 pool": (lambda r: L2Pool((4, 2)), IMAGE),
    "leaky relu": (lambda r: Activation("leaky_relu", 0.123), IMAGE),
    "leaky relu steep": (lambda r: Activation("leaky_relu", 7.7), IMAGE),
    "elu": (lambda r: Activation("elu", 1.3), IMAGE),
    "elu steep": (lambda r: Activation("elu", 20.0), IMAGE),
    "elu flat": (lambda r: Activation("elu", 0.01), IMAGE),
    "tanh": (lambda r: Activation("tanh"), IMAGE),
    "sigmoid": (lambda r: Activation("sigmoid"), IMAGE),
}


def _operator(name: str, randn: Randn) -> tuple[Operator, tuple[int, ...]]:
    make, shape = OPERATORS[name]
    return make(lambda *size: randn(*size, seed=sum(size), dtype=torch.float32)), shape


def _inputs(shape: tuple[int, ...], randn: Randn) -> Tensor:
    """(B, *shape) float32: typical, large, small, subnormal, constant and mixed-scale ones."""
    base = randn(8, *shape, seed=1, dtype=torch.float32)
    mixed = base * 10.0 ** randn(8, *shape, seed=2, dtype=torch.float32).mul(4).clamp(-15, 8)
    scaled = [base * scale for scale in (1e6, 1e3, 1e-3, 1e-8, 1e-20, 1e-38, 1e-41)]
    return torch.cat([base, base.clamp(0, 1), mixed, torch.ones_like(base), *scaled])


def _error_and_norm(operator: Operator, x: Tensor) -> tuple[Tensor, Tensor]:
    """(B,) float64: ||float32 program - float64 program|| and ||x||, of float32 inputs."""
    exact = operator.map_tensors(torch.Tensor.double).apply(x.double())
    error = torch.linalg.vector_norm((operator.apply(x).double() - exact).flatten(1), dim=1)
    return error, torch.linalg.vector_norm(x.double().flatten(1), dim=1)


def _cancelling(operator: Operator, x: Tensor) -> Tensor:
    """Inputs whose outputs nearly vanish while the terms of every sum stay large: gradient descent on ||op(x)||."""
    wide = operator.map_tensors(torch.Tensor.double)
    y = x.double().clone()
    for _ in range(40):
        y.requires_grad_(True)
        image = wide.apply(y)
        (gradient,) = torch.autograd.grad(image.square().sum(), y)
        curvature = torch.linalg.vector_norm(gradient) ** 2 / image.detach().square().sum().clamp_min(1e-30)
        y = (y - gradient * (1.0 / curvature.clamp_min(1e-12))).detach()
    return y.float()


def _hill_climbed(operator: Operator, x: Tensor, randn: Randn) -> Tensor:
    """Inputs whose measured relative error is as large as 60 rounds of random changes make it."""
    best = x.clone()
    error, norm = _error_and_norm(operator, best)
    for round_ in range(60):
        step = 10.0 ** -(round_ % 6)
        candidate = best + step * randn(*x.shape, seed=100 + round_, dtype=torch.float32) * best.abs().mean()
        new_error, new_norm = _error_and_norm(operator, candidate)
        better = new_error / new_norm > error / norm
        best[better], error[better], norm[better] = candidate[better], new_error[better], new_norm[better]
    return best


@pytest.mark.parametrize("name", OPERATORS)
def test_float32_error_stays_below_the_term(name: str, randn: Randn) -> None:
    operator, shape = _operator(name, randn)
    term = operator.rounding_term(shape, U32)
    x = _inputs(shape, randn)
    start = x[:8].clone()
    for batch in (x, _cancelling(operator, start), _hill_climbed(operator, start, randn)):
        error, norm = _error_and_norm(operator, batch)
        assert torch.isfinite(error).all()
        assert (error <= term.relative * norm + term.absolute).all(), float((error / norm).max() / term.relative)


@pytest.mark.parametrize("name", sorted(set(OPERATORS) - {"conv tiny weights", "elu flat"}))
def test_the_term_is_not_absurdly_loose(name: str, randn: Randn) -> None:
    """Rounding errors of n-term sums grow like sqrt(n), the worst case like n: 500 times covers both here."""
    operator, shape = _operator(name, randn)
    term = operator.rounding_term(shape, U32)
    error, norm = _error_and_norm(operator, _inputs(shape, randn)[:16])
    assert (error * 500 > term.relative * norm + term.absolute).any()


WORST: dict[str, tuple[Callable[[Randn], Operator], tuple[int, ...], int]] = {
    # name: (operator, input shape, terms of one output)
    "dense": (lambda r: Dense(r(5, 30), r(5)), (30,), 30),
    "conv": (lambda r: Conv(r(3, 2, 3, 3), r(3), padding=(1, 1, 1, 1)), (2, 5, 5), 18),
    "conv without bias": (lambda r: Conv(r(3, 2, 3, 3)), (2, 5, 5), 18),
    "conv groups": (lambda r: Conv(r(4, 2, 2, 3), r(4), (2, 1), groups=2), (4, 5, 5), 12),
    "conv circular repeated": (
        lambda r: Conv(r(2, 2, 3, 3), r(2), padding=(4, 4, 4, 4), padding_mode="circular"),
        (2, 4, 4),
        18,
    ),
    "average pool": (lambda r: AvgPool((3, 3), (1, 1), (1, 1)), (1, 6, 6), 9),
}


@pytest.mark.parametrize("name", WORST)
@pytest.mark.parametrize("unit", [U32, U64])
def test_terms_cover_the_worst_case_of_any_summation_order(name: str, unit: float, randn: Randn) -> None:
    """n u || |A| || and n u ||b|| (Higham, section 3.1), with |A| as an explicit matrix; underflow in every output."""
    make, shape, count = WORST[name]
    operator = make(randn)
    basis = torch.eye(torch.Size(shape).numel(), dtype=torch.float64).view(-1, *shape)
    at_zero = operator.apply(torch.zeros(1, *shape, dtype=torch.float64)).flatten()
    matrix = (operator.apply(basis).flatten(1) - at_zero).T
    norm, constant = float(torch.linalg.svdvals(matrix.abs())[0]), float(at_zero.norm())
    term = operator.rounding_term(shape, unit)
    assert count * unit * norm <= term.relative <= 2.5 * count * unit * norm
    smallest = {U32: 2.0**-149, U64: 2.0**-1074}[unit]
    underflow = count * smallest * len(matrix) ** 0.5
    assert count * unit * constant + underflow <= term.absolute <= 1.5 * count * unit * constant + 10 * underflow


def _fractions(values: Tensor) -> list[Fraction]:
    return [Fraction(value) for value in values.flatten().tolist()]


@pytest.mark.parametrize("name", ["dense", "conv", "scale", "offset", "average pool"])
def test_float64_error_against_exact_arithmetic(name: str, randn: Randn) -> None:
    """The affine operator as a matrix of its taps, applied in fractions."""
    taps = {
        "dense": (Dense(randn(5, 12), randn(5, seed=1)), (12,)),
        "conv": (Conv(randn(2, 2, 3, 3), randn(2, seed=1), padding=(1, 1, 1, 1)), (2, 4, 4)),
        "scale": (Scale(randn(2)), (2, 3, 3)),
        "offset": (Offset(randn(2)), (2, 3, 3)),
        "average pool": (AvgPool((3, 2), (1, 1)), (2, 4, 4)),
    }
    operator, shape = taps[name]
    columns = torch.eye(torch.Size(shape).numel(), dtype=torch.float64).view(-1, *shape)
    constant = operator.apply(torch.zeros(1, *shape, dtype=torch.float64))
    linear = operator if name in ("scale", "average pool") else _without_bias(operator)
    matrix = linear.apply(columns).flatten(1).T
    if name == "offset":
        matrix = torch.eye(len(columns), dtype=torch.float64)
    term = operator.rounding_term(shape, U64)
    divisor = Fraction(6) if name == "average pool" else Fraction(1)  # 1/6 is no float: taps of 1, divided exactly
    if name == "average pool":
        matrix = (matrix * 6).round()
    for seed in range(5):
        x = randn(1, *shape, seed=seed) * 10.0**seed
        exact = [
            sum((a * b for a, b in zip(_fractions(row), _fractions(x), strict=True)), Fraction(0)) / divisor + bias
            for row, bias in zip(matrix, _fractions(constant), strict=True)
        ]
        computed = _fractions(operator.apply(x))
        squared = sum(((a - b) ** 2 for a, b in zip(exact, computed, strict=True)), Fraction(0))
        norm_squared = sum((value**2 for value in _fractions(x)), Fraction(0))
        # (relative |x| + absolute)^2 >= relative^2 |x|^2 + absolute^2
        assert squared <= Fraction(term.relative) ** 2 * norm_squared + Fraction(term.absolute) ** 2


def _without_bias(operator: Operator) -> Operator:
    if isinstance(operator, Dense):
        return Dense(operator.weight)
    if isinstance(operator, Conv):
        return Conv(operator.weight, padding=operator.padding)
    return operator


def test_gamma_is_above_the_exact_quotient() -> None:
    for count in (1, 9, 4608, 10**6):
        for unit in (U32, U64):
            exact = Fraction(count) * Fraction(unit) / (1 - Fraction(count) * Fraction(unit))
            assert exact <= Fraction(gamma_upper_bound(count, unit)) <= exact * (1 + Fraction(1, 10**12))
    with pytest.raises(ConfigError, match="no rounding bound"):
        gamma_upper_bound(2**24, U32)


def test_the_float32_program_of_a_network_composes(
    make_network: Callable[[torch.dtype], CertifiedClassifier], randn: Randn
) -> None:
    """Layer by layer, error' <= Lip * error + relative * ||v|| + absolute with computed activations v."""
    network = make_network(torch.float32)
    x = randn(5, 3, 8, 8, seed=3, dtype=torch.float32).clamp(0, 1)
    v, exact, error = x, x.double(), torch.zeros(5, dtype=torch.float64)
    for layer, shape in zip(network.operators, network.layer_input_shapes, strict=False):
        term, lipschitz = layer.rounding_term(shape, U32), layer.lipschitz_upper_bound(shape).value
        norm = torch.linalg.vector_norm(v.double().flatten(1), dim=1)
        error = lipschitz * error + term.relative * norm + term.absolute
        v, exact = layer.apply(v), layer.map_tensors(torch.Tensor.double).apply(exact)
        measured = torch.linalg.vector_norm((v.double() - exact).flatten(1), dim=1)
        assert (measured <= error).all()
    assert (error > 0).all()


@pytest.mark.parametrize("slope", [0.9, 3.3])
def test_a_leaky_relu_in_float32_rounds_its_slope_too(slope: float) -> None:
    """The kernel alone, against the product of doubles, which errs 2^-29 as much."""
    x = -torch.rand(4096, generator=torch.Generator().manual_seed(0)) - 0.5
    operator = Activation("leaky_relu", slope)
    error = operator.apply(x[None]).double() - slope * x[None].double()
    largest = float((error / x.double()).abs().max())
    term = operator.rounding_term((1,), 2.0**-24)
    assert max(1.0, slope) * 2.0**-24 < largest <= term.relative
