"""Row distances and their gradient against float64 differences, pair by pair."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from lip_plugin.losses import emma_loss
from lip_plugin.train.row_distances import row_distances

Randn = Callable[..., Tensor]


def _pair_by_pair(a: Tensor, b: Tensor, pulls: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Distances (M, K), and the gradients of their sum weighted with ``pulls``, all float64."""
    a, b = a.double(), b.double()
    distances, of_a, of_b = torch.zeros(len(a), len(b), dtype=torch.float64), torch.zeros_like(a), torch.zeros_like(b)
    for i, x in enumerate(a):
        for j, y in enumerate(b):
            size = (x - y).abs().amax()
            if size == 0:
                continue
            direction = (x - y) / size  # whose squares neither overflow nor vanish
            length = direction.square().sum().sqrt()
            distances[i, j] = size * length
            of_a[i] += float(pulls[i, j]) * direction / length
            of_b[j] -= float(pulls[i, j]) * direction / length
    return distances, of_a, of_b


def _near_each_other(randn: Randn, sizes: tuple[int, int, int], gap: float, scale: float, seed: int) -> list[Tensor]:
    """(M, D) and (K, D): rows of their own, then rows of the first matrix once more, as they are or ``gap`` away."""
    m, k, d = sizes
    a, b = randn(m, d, seed=seed), randn(k, d, seed=seed + 1)
    again = torch.arange(k // 2) % m
    b[: k // 2] = a[again] + gap * randn(k // 2, d, seed=seed + 2)
    return [a * scale, b * scale]


@given(
    seed=st.integers(0, 10**6),
    sizes=st.tuples(st.integers(1, 4), st.integers(2, 5), st.sampled_from([1, 2, 7, 300])),
    gap=st.sampled_from([0.0, 1e-12, 1e-7, 1e-4, 0.03, 0.05, 1.0]),
    scale=st.sampled_from([1e-30, 1e-12, 1.0, 1e12, 1e30]),
    dtype=st.sampled_from([torch.bfloat16, torch.float32, torch.float64]),
)
def test_against_differences(
    seed: int, sizes: tuple[int, int, int], gap: float, scale: float, dtype: torch.dtype, randn: Randn
) -> None:
    a, b = (value.to(dtype) for value in _near_each_other(randn, sizes, gap, scale, seed))
    pulls = randn(len(a), len(b), seed=seed + 3)
    wanted, *gradients = _pair_by_pair(a, b, pulls)
    rounding = {torch.bfloat16: 2.0**-8, torch.float32: 1e-6, torch.float64: 1e-12}[dtype]

    leaves = [a.requires_grad_(True), b.requires_grad_(True)]
    found = row_distances(a, b)
    assert found.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    torch.testing.assert_close(found.double(), wanted, rtol=min(rounding, 1e-7), atol=0.0)
    assert torch.equal(found == 0, (a[:, None] == b).all(2))

    for gradient, reference in zip(torch.autograd.grad((found * pulls).sum(), leaves), gradients, strict=True):
        # Each row sums unit vectors times pulls.
        torch.testing.assert_close(
            gradient.double(), reference, rtol=0.0, atol=10 * rounding * float(pulls.abs().sum())
        )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_rows_one_last_digit_apart(dtype: torch.dtype, randn: Randn) -> None:
    """One entry of 2,048 differs by its last digit: products of these rows agree to the last digit."""
    rows = torch.nn.functional.normalize(randn(3, 2048, dtype=dtype), dim=1).to(dtype)
    others = rows.clone()
    others[1, 5] = torch.nextafter(rows[1, 5], torch.tensor(9.0, dtype=dtype))
    rows.requires_grad_(True)
    found = row_distances(rows, others)
    step = float((others - rows.detach()).abs().amax())
    assert found.diagonal().tolist() == pytest.approx([0.0, step, 0.0], rel=1e-7)
    (gradient,) = torch.autograd.grad(found.diagonal().sum(), rows)
    expected = torch.zeros_like(gradient)
    expected[1, 5] = -1.0
    torch.testing.assert_close(gradient, expected, rtol=0.0, atol=1e-9)


def test_emma_is_that_of_a_tensor_of_all_differences(randn: Randn) -> None:
    """Loss and gradient by automatic differentiation through (B, K, D), where equal rows have a floor of 1e-20."""
    weight, features = randn(40, 24).requires_grad_(True), randn(12, 24, seed=1)
    labels = torch.arange(12) * 3

    def loss(distances: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        rows = torch.nn.functional.normalize(weight, dim=1)
        return emma_loss(features @ rows.T, labels, pair_lipschitz=2.0 * distances(rows[labels], rows), eps=0.1)

    ours, plain = loss(row_distances), loss(lambda a, b: (a[:, None] - b).square().sum(2).clamp_min(1e-20).sqrt())
    torch.testing.assert_close(ours, plain, rtol=1e-9, atol=0.0)
    torch.testing.assert_close(*(torch.autograd.grad(value, weight)[0] for value in (ours, plain)), rtol=0, atol=1e-9)


def test_finite_differences_and_the_subgradient_of_equal_rows(randn: Randn) -> None:
    a, far = randn(3, 4).requires_grad_(True), (randn(5, 4, seed=1) + 9).requires_grad_(True)
    assert torch.autograd.gradcheck(row_distances, (a, far))
    near = (far.detach() + 1e-2 * randn(5, 4, seed=2)).requires_grad_(True)
    assert torch.autograd.gradcheck(lambda x, y: row_distances(x, y).diagonal(), (near, far), eps=1e-7, atol=1e-4)
    (of_equal,) = torch.autograd.grad(row_distances(a, a.detach())[0, 0], a)
    assert torch.equal(of_equal, torch.zeros_like(of_equal))


class Largest(TorchDispatchMode):
    """The most entries of any tensor that was computed."""

    entries = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for value in out if isinstance(out, (tuple, list)) else (out,):
            if isinstance(value, Tensor):
                self.entries = max(self.entries, value.numel())
        return out


@pytest.mark.parametrize("gap", [0.0, 1e-6, 1.0])
def test_no_tensor_of_all_differences_is_built(gap: float, randn: Randn) -> None:
    """Also where all rows are equal, or nearly."""
    m, k, d = 96, 128, 160
    a, b = (1 + gap * randn(size, d, seed=size).float().requires_grad_(True) for size in (m, k))
    with Largest() as largest:
        row_distances(a, b).sum().backward()
    assert largest.entries <= max(k * d, 2 * m * k)
