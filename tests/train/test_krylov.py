"""The estimate of a norm from few products, beside the SVD and beside power iteration with as many."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from lip_plugin.train.estimates import _best_in_krylov_space  # pyright: ignore[reportPrivateUsage]


def _norms(matrices: Tensor, vectors: Tensor) -> Tensor:
    return (matrices @ vectors[..., None])[..., 0].norm(dim=1)


def _unit(vectors: Tensor) -> Tensor:
    return torch.nn.functional.normalize(vectors, dim=1)


@pytest.mark.parametrize("size", [5, 40, 300])
@pytest.mark.parametrize("decay", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("dimension", [1, 2, 3, 4])
def test_it_comes_as_near_as_power_iteration_with_as_many_products(size: int, decay: float, dimension: int) -> None:
    generator = torch.Generator().manual_seed(size + dimension)
    matrices = torch.randn(6, size, size, generator=generator) * torch.arange(1, size + 1) ** -decay
    start = _unit(torch.randn(6, size, generator=generator))

    def gram(vectors: Tensor) -> Tensor:
        return (matrices.mT @ (matrices @ vectors[..., None]))[..., 0]

    power, best = start, start
    for _ in range(3):  # three updates of the same maps, each from where the one before it ended
        for _ in range(dimension):
            power = _unit(gram(power))
        best = _best_in_krylov_space(gram, best, dimension)
    norms = torch.linalg.matrix_norm(matrices, 2)
    assert bool((_norms(matrices, best) <= norms * (1 + 1e-5)).all())
    assert float((_norms(matrices, best) / norms).mean()) >= float((_norms(matrices, power) / norms).mean()) - 1e-4
    if dimension == 4 and decay:
        assert bool((_norms(matrices, best) >= norms * (1 - 1e-3)).all())


def test_spaces_that_are_used_up_and_maps_to_zero_give_numbers() -> None:
    """Two dimensions, a map of rank one, one that is a multiple of the identity, and the zero map."""
    diagonal = torch.tensor([[3.0, 0.0], [2.0, 2.0], [0.0, 0.0], [5.0, 1.0]])
    found = _best_in_krylov_space(lambda v: diagonal**2 * v, _unit(torch.tensor([[1.0, 1.0]] * 4)), 4)
    assert bool(torch.isfinite(found).all())
    assert torch.allclose((diagonal * found).norm(dim=1), torch.tensor([3.0, 2.0, 0.0, 5.0]), rtol=1e-5)
