"""The gradient of MinMax, bit by bit, against `torch.where`."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from lip_plugin.network import minmax

Randn = Callable[..., Tensor]
SPECIAL = (0.0, -0.0, torch.inf, -torch.inf, torch.nan, 1e-40, 1.0)
BITS = {torch.float16: torch.int16, torch.bfloat16: torch.int16, torch.float32: torch.int32, torch.float64: torch.int64}


def _backward(x: Tensor, grad: Tensor) -> Tensor:
    a, b = x.chunk(2, dim=1)
    of_max, of_min = grad.chunk(2, dim=1)
    return torch.cat([torch.where(a >= b, of_max, of_min), torch.where(a >= b, of_min, of_max)], dim=1)


def _found(x: Tensor, grad: Tensor) -> Tensor:
    leaf = x.clone().requires_grad_(True)
    return torch.autograd.grad(minmax(leaf), leaf, grad)[0]


def _with_special(values: Tensor) -> Tensor:
    """Every pair of special values comes at one pair of channels or another."""
    flat = values.flatten()
    flat[::3] = torch.tensor(SPECIAL * len(flat), dtype=values.dtype)[: len(flat[::3])]
    return flat.view(values.shape)


@pytest.mark.parametrize("dtype", BITS)
@pytest.mark.parametrize("shape", [(5, 6), (3, 8, 5, 5), (2, 2, 1, 3), (0, 4)])
@pytest.mark.parametrize("last", [False, True])
def test_every_bit_of_the_gradient(dtype: torch.dtype, shape: tuple[int, ...], last: bool, randn: Randn) -> None:
    """With ties, zeros of both signs, infinities and NaN in the input and in the gradient."""
    x, grad = (_with_special(randn(*shape, seed=seed, dtype=torch.float64).to(dtype)) for seed in (0, 1))
    x[:, : shape[1] // 4] = x[:, shape[1] // 2 : shape[1] // 2 + shape[1] // 4]
    if last and len(shape) == 4:
        x, grad = (value.contiguous(memory_format=torch.channels_last) for value in (x, grad))
    found, expected = _found(x, grad), _backward(x, grad)
    assert found.dtype == dtype and found.stride() == expected.stride()
    assert torch.equal(found.view(BITS[dtype]), expected.view(BITS[dtype]))


def test_a_gradient_that_shares_its_entries(randn: Randn) -> None:
    """That of a sum is one number in all places; and what a gradient is taken of stays as it was."""
    x, grad = randn(3, 4, 2), torch.tensor(2.0, dtype=torch.float64).expand(3, 4, 2)
    assert torch.equal(_found(x, grad), grad)
    part = randn(6, 4, 4, seed=1)
    kept = part.clone()
    assert torch.equal(_found(x, part[::2, :, ::2]), _backward(x, part[::2, :, ::2]))
    assert torch.equal(part, kept)


def test_many_gradients_at_once(randn: Randn) -> None:
    x, grads = randn(3, 4, 2), randn(5, 3, 4, 2, seed=1)
    expected = torch.stack([_backward(x, grad) for grad in grads])
    leaf = x.clone().requires_grad_(True)
    (batched,) = torch.autograd.grad(minmax(leaf), leaf, grads, is_grads_batched=True)
    assert torch.equal(batched, expected)
    pull = torch.func.vjp(minmax, x)[1]
    assert torch.equal(torch.func.vmap(pull)(grads)[0], expected)


def test_the_gradient_of_a_gradient(randn: Randn) -> None:
    x, grad = randn(3, 4, 2).requires_grad_(True), randn(3, 4, 2, seed=1).requires_grad_(True)
    (back,) = torch.autograd.grad(minmax(x), x, grad, create_graph=True)
    weights = randn(3, 4, 2, seed=2)
    (found,) = torch.autograd.grad((back * weights).sum(), grad)
    (expected,) = torch.autograd.grad((_backward(x, grad) * weights).sum(), grad)
    assert torch.equal(found, expected) and found.any()
