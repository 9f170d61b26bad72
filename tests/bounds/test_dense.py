"""Dense bounds against singular values, row distances against exact rational arithmetic."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
import torch
from torch import Tensor

from lip_plugin.bounds import dense_norm_upper_bound, row_distance_upper_bound
from lip_plugin.errors import UnsupportedLayerError


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def exact_square(left: Tensor, right: Tensor) -> Fraction:
    pairs = zip(left.tolist(), right.tolist(), strict=True)
    return sum(((Fraction(a) - Fraction(b)) ** 2 for a, b in pairs), Fraction(0))


@pytest.mark.parametrize("shape", [(1, 1), (10, 512), (300, 17), (1, 7)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dense_norm(shape: tuple[int, int], dtype: torch.dtype) -> None:
    weight = noise(*shape).to(dtype)
    exact = float(torch.linalg.svdvals(weight.double())[0])
    bound = dense_norm_upper_bound(weight)
    assert exact * (1 - 1e-12) <= bound.value <= exact * (1 + 1e-7)
    assert bound.method == "verified Cholesky"


def test_dense_refuses_what_is_no_finite_matrix() -> None:
    with pytest.raises(UnsupportedLayerError, match=r"\(O, I\)"):
        dense_norm_upper_bound(torch.ones(2, 2, 2))
    with pytest.raises(UnsupportedLayerError, match="NaN"):
        dense_norm_upper_bound(torch.tensor([[math.nan]]))
    with pytest.raises(UnsupportedLayerError, match="inf"):
        dense_norm_upper_bound(torch.full((2, 2), 1.7e308, dtype=torch.float64))


@pytest.mark.parametrize("scale", [1.0, 1e-150, 1e150, 1e-200, 1e-312])
@pytest.mark.parametrize("gap", [1.0, 1e-12])
def test_row_distances_never_fall_below_the_exact_ones(scale: float, gap: float) -> None:
    head = (noise(1, 40) + gap * noise(6, 40, seed=1)) * scale
    bounds = row_distance_upper_bound(head)
    for i in range(6):
        for j in range(6):
            square, bound = exact_square(head[i], head[j]), float(bounds[i, j])
            assert Fraction(bound) ** 2 >= square
            assert bound <= math.sqrt(square / Fraction(scale) ** 2) * scale * (1 + 1e-12) + 5 * 5e-324
    assert torch.equal(bounds, bounds.mT) and bounds.dtype == torch.float64


def test_near_identical_rows_where_the_gram_trick_gives_zero() -> None:
    row = noise(64).float()
    head = torch.stack([row, row, row])
    head[1, 5] = torch.nextafter(head[1, 5], torch.tensor(math.inf))
    squares = (head * head).sum(dim=1)
    gram = (squares[:, None] + squares[None, :] - 2 * head @ head.mT).clamp_min(0).sqrt()
    step = float(head[1, 5].double() - head[0, 5].double())
    assert abs(float(gram[0, 1]) - step) > 0.5 * step  # the shortcut is wrong here
    bounds = row_distance_upper_bound(head)
    assert step <= float(bounds[0, 1]) <= step * (1 + 1e-12)
    assert float(bounds[0, 2]) == 0.0 and bounds.diagonal().tolist() == [0.0, 0.0, 0.0]


def test_rows_apart_by_the_smallest_number_are_not_identical() -> None:
    head = torch.tensor([[0.0, 1.0], [5e-324, 1.0]], dtype=torch.float64)
    assert float(row_distance_upper_bound(head)[0, 1]) >= 5e-324


def test_rows_of_opposite_sign_have_a_closed_form() -> None:
    bounds = row_distance_upper_bound(torch.tensor([[3.0, 4.0], [-3.0, -4.0], [0.0, 0.0]]))
    expected = torch.tensor([[0.0, 10.0, 5.0], [10.0, 0.0, 5.0], [5.0, 5.0, 0.0]], dtype=torch.float64)
    assert bool((bounds >= expected).all()) and torch.allclose(bounds, expected, rtol=1e-13, atol=0.0)


def test_row_distance_refusals() -> None:
    with pytest.raises(UnsupportedLayerError, match=r"\(K, D\)"):
        row_distance_upper_bound(torch.ones(3))
    with pytest.raises(UnsupportedLayerError, match="NaN"):
        row_distance_upper_bound(torch.tensor([[math.inf], [0.0]]))
    with pytest.raises(UnsupportedLayerError, match="rescale"):
        row_distance_upper_bound(torch.tensor([[1.7e308], [-1.7e308]], dtype=torch.float64))


@pytest.mark.parametrize("shape", [(1, 4), (0, 4), (3, 0)])
def test_heads_without_pairs_or_features(shape: tuple[int, int]) -> None:
    assert row_distance_upper_bound(torch.zeros(*shape)).abs().sum() == 0.0
