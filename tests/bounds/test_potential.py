"""The bound of a step on a convex potential against explicit matrices: over all slopes its constant is known."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from lip_plugin.bounds import potential_step_upper_bound
from lip_plugin.errors import UnsupportedLayerError
from lip_plugin.network import ConvexPotential


def explicit(weight: Tensor, size: tuple[int, int], padding: tuple[int, int]) -> Tensor:
    """(hidden pixels, pixels): column by column."""
    pixels = weight.shape[1] * math.prod(size)
    units = torch.eye(pixels, dtype=weight.dtype).view(pixels, weight.shape[1], *size)
    return F.conv2d(units, weight, padding=padding).flatten(1).T


def test_500_random_steps_are_bounded_by_their_exact_constant() -> None:
    """sup over 0 <= D <= 1 of ||I - B^T D B|| is max(1, ||B||^2 - 1): D = 0 and D = 1 reach it, and no D passes it."""
    draw = torch.Generator().manual_seed(0)
    at_one = 0
    for _ in range(500):
        hidden, channels, height, width, top, left, high, wide = (
            int(torch.randint(1, most, (), generator=draw)) for most in (5, 4, 5, 5, 3, 3, 4, 4)
        )
        taps, padding = (top, left), (min(top - 1, high - 1), min(left - 1, wide - 1))
        size = (max(height, top), max(width, left))
        weight = torch.randn(hidden, channels, *taps, generator=draw).double() * 0.6
        scale = torch.rand(hidden, generator=draw).double() * 2
        bound = potential_step_upper_bound(weight, scale, input_size=size, padding=padding).value
        matrix = explicit(weight, size, padding)
        places = matrix.shape[0] // hidden
        b = scale.repeat_interleave(places).sqrt()[:, None] * matrix
        exact = max(1.0, float(torch.linalg.matrix_norm(b, 2)) ** 2 - 1.0)
        assert exact * (1 - 1e-12) <= bound <= (exact + 1.0) * (1 + 2e-9) - 1.0  # ||B||^2 is proved to 1e-9
        at_one += exact == 1.0
        slopes = torch.rand(b.shape[0], generator=draw).double()
        jacobian = torch.eye(b.shape[1], dtype=torch.float64) - b.T @ (slopes[:, None] * b)
        assert float(torch.linalg.matrix_norm(jacobian, 2)) <= bound * (1 + 1e-12)
    assert 50 < at_one < 450


def test_the_step_is_its_formula() -> None:
    draw = torch.Generator().manual_seed(1)
    weight, bias = torch.randn(3, 2, 3, 2, generator=draw).double(), torch.randn(3, generator=draw).double()
    scale = torch.rand(3, generator=draw).double()
    step, x = ConvexPotential(weight, bias, scale, (2, 1)), torch.randn(2, 4, 5, generator=draw).double()
    matrix = explicit(weight, (4, 5), (2, 1))
    hidden = (matrix @ x.flatten()).view(3, -1) + bias[:, None]
    expected = x.flatten() - matrix.T @ (scale[:, None] * hidden.clamp_min(0)).flatten()
    assert torch.allclose(step.apply(x[None]).flatten(), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("value", [-1e-30, float("nan"), float("inf")])
def test_scales_that_follow_no_potential_are_refused(value: float) -> None:
    scale = torch.tensor([1.0, value])
    with pytest.raises(UnsupportedLayerError):
        potential_step_upper_bound(torch.ones(2, 1, 1, 1), scale, input_size=(2, 2), padding=(0, 0))


@pytest.mark.parametrize("exponent", [-300, -160, 0, 150])
def test_scale_and_weight_may_be_far_apart(exponent: int) -> None:
    """scale * weight^2 is what counts: 9 here."""
    weight = torch.full((1, 1, 1, 1), 3.0 * 10.0 ** (-exponent / 2), dtype=torch.float64)
    scale = torch.tensor([10.0**exponent], dtype=torch.float64)
    bound = potential_step_upper_bound(weight, scale, input_size=(2, 2), padding=(0, 0)).value
    assert bound == pytest.approx(8.0, rel=1e-9)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((torch.ones(2, 1, 1, 1), torch.ones(3), torch.ones(2)), "hidden channels"),
        ((torch.ones(2, 1, 1, 1), torch.ones(2), torch.ones(2), (1, 0)), "below the kernel"),
        ((torch.ones(2, 1), torch.ones(2), torch.ones(2)), "dimensions"),
        ((torch.ones(0, 1, 1, 1), torch.ones(0), torch.ones(0)), "empty"),
    ],
)
def test_parts_that_do_not_fit_are_refused(arguments: tuple[Tensor, ...], words: str) -> None:
    with pytest.raises(UnsupportedLayerError, match=words):
        ConvexPotential(*arguments)  # pyright: ignore[reportArgumentType]
