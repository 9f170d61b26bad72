"""Sums in parts: what float32 adds up against float64 and fractions, and how tight the bound is."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import pytest
import torch
import torch.utils._python_dispatch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from lip_plugin.network import Conv, Dense, Operator, RoundingAt
from lip_plugin.network.operators.sums import float32_norms, magnitude, part_size

Randn = Callable[..., Tensor]
U32 = 2.0**-24

LONG: dict[str, tuple[Callable[[Randn], Operator], tuple[int, ...]]] = {
    # operators whose sums float32 adds up in several parts, and some that it does not
    "conv": (lambda r: Conv(r(5, 66, 3, 3), r(5), padding=(1, 1, 1, 1)), (66, 5, 5)),
    "conv asymmetric strided": (lambda r: Conv(r(3, 40, 4, 4), None, (2, 3), (1, 2, 0, 3)), (40, 8, 9)),
    "conv circular": (lambda r: Conv(r(3, 64, 3, 3), r(3), padding=(1, 1, 1, 1), padding_mode="circular"), (64, 4, 4)),
    "conv groups": (lambda r: Conv(r(4, 96, 3, 3), r(4), padding=(1, 1, 1, 1), groups=2), (192, 4, 4)),
    "conv of one part": (lambda r: Conv(r(4, 8, 3, 3), r(4)), (8, 5, 5)),
    "dense": (lambda r: Dense(r(7, 1568), r(7)), (1568,)),
    "dense without bias": (lambda r: Dense(r(7, 300)), (300,)),
    "dense of a prime": (lambda r: Dense(r(7, 257), r(7)), (257,)),
    "dense of one part": (lambda r: Dense(r(7, 100), 100 * r(7)), (100,)),
}


def _made(name: str, randn: Randn) -> tuple[Operator, tuple[int, ...]]:
    make, shape = LONG[name]
    return make(lambda *size: randn(*size, seed=sum(size), dtype=torch.float32)), shape


def _near(operator: Operator, x: Tensor) -> RoundingAt:
    wide = operator.map_tensors(torch.Tensor.double)
    return operator.float32_rounding(tuple(x.shape[1:]))(x, wide.apply(x), x.flatten(1).norm(dim=1))


def _error(operator: Operator, x: Tensor) -> Tensor:
    """(B,) of float32 inputs, against float64."""
    exact = operator.map_tensors(torch.Tensor.double).apply(x.double())
    return (operator.apply(x).double() - exact).flatten(1).norm(dim=1)


@given(count=st.integers(1, 20_000), each=st.integers(1, 1000), longest=st.integers(1, 400))
def test_parts_are_short_or_sixteen_and_none_is_empty(count: int, each: int, longest: int) -> None:
    size = part_size(count, each, longest)
    parts = len(torch.empty(0, count).split(size, 1))
    assert 1 <= parts <= 16 and (parts - 1) * size < count <= parts * size
    longest_size = max(1, longest // each)
    assert size <= longest_size or size == -(-count // 16)  # short, or as short as 16 parts allow
    assert parts == 1 or -(-count // (parts - 1)) > longest_size  # and none could be spared


@pytest.mark.parametrize("name", LONG)
def test_parts_give_the_same_function(name: str, randn: Randn) -> None:
    operator, shape = _made(name, randn)
    x = randn(3, *shape, dtype=torch.float32).requires_grad_(True)
    z = x.detach().double().requires_grad_(True)
    ours, exact = operator.apply(x), operator.map_tensors(torch.Tensor.double).apply(z)
    torch.testing.assert_close(ours.double(), exact, rtol=1e-4, atol=1e-4)
    of_ours, of_exact = (torch.autograd.grad(y.square().sum(), at)[0] for y, at in ((ours, x), (exact, z)))
    torch.testing.assert_close(of_ours.double(), of_exact, rtol=1e-3, atol=1e-2)


@pytest.mark.parametrize("name", LONG)
@pytest.mark.parametrize("scale", [1.0, 2.0**70, 2.0**-70])
def test_the_bound_near_an_input_covers_float32_there(name: str, scale: float, randn: Randn) -> None:
    operator, shape = _made(name, randn)
    x = (randn(4, *shape, seed=3, dtype=torch.float32) * scale).double()
    near = _near(operator, x)
    for distance in (0.0, 0.5 * scale, 100.0 * scale):
        for seed in range(3):
            step = randn(*x.shape, seed=seed)
            moved = (x + distance * step / step.flatten(1).norm(dim=1).view(-1, *[1] * (x.dim() - 1))).float()
            apart = (moved.double() - x).flatten(1).norm(dim=1)
            error = _error(operator, moved)
            assert (error <= near.error + near.growth * apart).all()
            assert (operator.apply(moved).abs().flatten(1).amax(1) <= near.peak + near.swell * apart).all()


def _formula(operator: Conv | Dense, x: Tensor) -> Tensor:
    """(B,) u ||a + n (a + s) / 2 + g s|| in float64, part by part from the slices of the weight."""
    nothing, wide = torch.zeros_like(x), operator.map_tensors(torch.Tensor.double)
    a, s = operator.map_tensors(lambda w: w.double().abs()).apply(x.abs()), wide.apply(nothing).abs()
    for start in range(0, operator.weight.shape[1], operator.part_size):
        kept = torch.zeros_like(wide.weight)
        part = slice(start, start + operator.part_size)
        kept[:, part] = wide.weight[:, part]
        s = s + (wide.with_tensors({"weight": kept}).apply(x) - wide.apply(nothing)).abs()
    n, g = operator.part_size * operator.weight[0, 0].numel(), operator.parts
    inside, between = ((a + wide.apply(x).abs()) / 2, 0.0 * s) if g == 1 else ((a + s) / 2, g * s)
    return U32 * (a + n * inside + between).flatten(1).norm(dim=1)


@pytest.mark.parametrize("name", LONG)
def test_the_bound_is_the_formula_and_little_more(name: str, randn: Randn) -> None:
    operator, shape = _made(name, randn)
    assert isinstance(operator, Conv | Dense)
    x = randn(3, *shape, seed=5)
    found, formula = _near(operator, x).error, _formula(operator, x)
    assert (found >= formula).all() and (found <= 1.05 * formula).all()


@pytest.mark.parametrize("count", [9, 120, 1000])
def test_an_order_exists_that_comes_near_the_bound(count: int) -> None:
    """All positive products first, then all negative ones, one rounding after the other, each to the worse side.

    Sum after sum in fractions: every partial sum is rounded up by u of itself, as far as a float32 could.
    """
    weight = torch.cat([torch.full((count // 2,), 0.75), torch.full((count - count // 2,), -0.75)]).view(1, -1)
    x = torch.ones(1, count, dtype=torch.float64)
    total, error = Fraction(0), Fraction(0)
    for value in weight[0].tolist():
        total += Fraction(value)
        error += abs(total) * Fraction(U32)
    bound, parts = Fraction(float(_near(Dense(weight), x).error)), Dense(weight).parts
    if parts == 1:
        assert error <= bound <= 4 * error
    else:  # parts are that much shorter
        assert error / parts <= bound <= error


@pytest.mark.parametrize("name", ["conv", "dense"])
def test_parts_and_half_are_worth_their_trouble(name: str, randn: Randn) -> None:
    """Against the usual bound of a sum in any order."""
    operator, shape = _made(name, randn)
    x = randn(2, *shape)
    term = operator.rounding_term(shape, U32)
    usual = term.relative * x.flatten(1).norm(dim=1) + term.absolute
    assert (3 * _near(operator, x).error < usual).all()


def test_what_overflows_float32_has_no_room() -> None:
    x = torch.full((1, 200), 2.0**100, dtype=torch.float64)
    near = _near(Dense(torch.full((2, 200), 2.0**60)), x)
    assert float(near.error) == math.inf and float(near.peak) == math.inf


def test_magnitudes_and_norms_are_never_below() -> None:
    values = torch.tensor([0.0, 2.0**-1060, 1e-40, 1.0 + 2.0**-30, 3e38, 1e300], dtype=torch.float64)
    assert (magnitude(values).double() >= values).all() and (magnitude(values) >= torch.finfo(torch.float32).tiny).all()
    entries = [3e38, 1e-38, 1e-45, 0.1]
    exact = sum(Fraction(v) ** 2 for v in torch.tensor(entries).double().tolist())
    assert Fraction(float(float32_norms(torch.tensor([entries]))[0])) ** 2 >= exact


@pytest.mark.parametrize("name", LONG)
def test_the_bound_holds_where_its_own_products_are_cut_to_bfloat16(name: str, randn: Randn) -> None:
    """What TF32 or bfloat16 would make of |W| |x|: the factors cut, which only lowers them."""
    operator, shape = _made(name, randn)
    x = randn(3, *shape)

    def cut(values: Tensor) -> Tensor:
        return (values.float().view(torch.int32) & -65536).view(torch.float32)

    class Cut(torch.utils._python_dispatch.TorchDispatchMode):  # pyright: ignore[reportPrivateUsage]
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            products = any(word in func.name() for word in ("aten::convolution", "mm", "conv2d"))
            cut_ones = [
                cut(a) if products and isinstance(a, Tensor) and a.dtype == torch.float32 and a.dim() > 1 else a
                for a in args
            ]
            return func(*cut_ones, **(kwargs or {}))

    assert isinstance(operator, Conv | Dense)
    formula = _formula(operator, x)
    with Cut():
        near = _near(operator, x)
    assert (near.peak >= operator.map_tensors(lambda w: w.double().abs()).apply(x.abs()).flatten(1).norm(dim=1)).all()
    assert (near.error >= formula).all() and (near.error >= _error(operator, x.float())).all()
