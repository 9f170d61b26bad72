"""Parametrisations with orthonormal rows or columns: each against its formula on whole matrices, and by SVD."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from lip_plugin.models.layers.orthogonal import PARAMETRISATIONS, MatrixName, orthonormal
from lip_plugin.models.layers.patches import Patches

Randn = Callable[..., Tensor]
SHAPES = [(3, 7), (4, 5), (5, 5), (6, 2)]


def skew_around(x: Tensor) -> Tensor:
    """[[U - U^T, V], [-V^T, 0]] of X = [U, V], the whole of it."""
    rows, columns = x.shape
    whole = torch.zeros(columns, columns, dtype=x.dtype)
    whole[:rows] = x
    return whole - whole.T


def by_svd(x: Tensor) -> Tensor:
    u, _, vh = torch.linalg.svd(x, full_matrices=False)
    return u @ vh


def contraction(x: Tensor) -> Tensor:
    """Cholesky's rows are part of the Q of [X, ridge^(1/2) I]^T, whose R has the Cholesky factor in it."""
    ridge = 1e-3 * x.square().sum() / len(x)
    q, r = torch.linalg.qr(torch.cat([x.T, ridge.sqrt() * torch.eye(len(x), dtype=x.dtype)]))
    return (q * r.diagonal().sign())[: x.shape[1]].T


def near_orthogonal(randn: Randn, *shape: int) -> Tensor:
    """Singular values a few tenths from 1."""
    return by_svd(randn(*shape)) + 0.1 * randn(*shape, seed=1)


def cayley(x: Tensor) -> Tensor:
    skew, identity = skew_around(x), torch.eye(x.shape[1], dtype=x.dtype)
    return (torch.linalg.inv(identity + skew) @ (identity - skew))[: len(x)]


FORMULAS: dict[MatrixName, Callable[[Tensor], Tensor]] = {
    "cholesky": contraction,
    "bjorck": by_svd,
    "cayley": cayley,
    "exponential": lambda x: torch.linalg.matrix_exp(skew_around(x))[: len(x)],
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", PARAMETRISATIONS)
def test_each_is_its_formula(name: MatrixName, shape: tuple[int, int], randn: Randn) -> None:
    """In a stack too; a matrix with more rows than columns is the transpose of the other case."""
    stack = near_orthogonal(randn, 3, *shape)
    found = orthonormal(stack, name)
    for x, matrix in zip(stack, found, strict=True):
        expected = FORMULAS[name](x.T).T if shape[0] > shape[1] else FORMULAS[name](x)
        torch.testing.assert_close(matrix, expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", PARAMETRISATIONS)
def test_gradients_are_those_of_differences(name: MatrixName, shape: tuple[int, int], randn: Randn) -> None:
    x = near_orthogonal(randn, *shape).requires_grad_()
    assert torch.autograd.gradcheck(lambda value: orthonormal(value, name), (x,))


@pytest.mark.parametrize("name", PARAMETRISATIONS)
def test_float32_is_orthogonal_enough(name: MatrixName, randn: Randn) -> None:
    """Also under autocast. Cholesky's ridge is the only contraction."""
    x = near_orthogonal(randn, 48, 64).float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = orthonormal(x, name)
    assert found.dtype == torch.float32
    values = torch.linalg.svdvals(found.double())
    assert 1 - (0.05 if name == "cholesky" else 1e-5) < float(values.min()) <= float(values.max()) < 1 + 1e-5


def test_bjorck_rises_from_below(randn: Randn) -> None:
    """Values far apart: none passes 1, as its docstring has it; orthonormal rows stay where they are."""
    u, v, values = by_svd(randn(4, 4)), by_svd(randn(4, 6, seed=1)), torch.tensor([1.0, 0.5, 1e-2, 1e-3]).double()
    found = torch.linalg.svdvals(orthonormal(u @ values.diag() @ v, "bjorck"))
    assert 1 - 1e-12 < float(found[1]) <= float(found[0]) <= 1 + 1e-14
    assert 1 - 1e-5 < float(found[2]) < 1 - 1e-8
    assert 0.2 < float(found[3]) < 0.43
    torch.testing.assert_close(orthonormal(v, "bjorck"), v, rtol=0, atol=1e-14)
    assert not bool(orthonormal(torch.zeros(2, 3), "bjorck").any())


@pytest.mark.parametrize("outputs", [6, 20])
@pytest.mark.parametrize("name", PARAMETRISATIONS)
def test_patches_keep_norms_by_every_one(name: MatrixName, outputs: int) -> None:
    """From the start: the proved bound of the stored float32 kernel."""
    conv, _ = Patches(3, 8, outputs, 2, matrix=name).freeze()
    bound = conv.lipschitz_upper_bound((3, 8, 8)).value
    assert (1 - 1e-3 if name == "cholesky" else 1 - 1e-5) < bound < 1 + 1e-5
