"""Distances between the rows of two matrices, and their gradient, without a tensor of all differences."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

_NEARLY_EQUAL = 1e-3
"""|a - b|^2 over |a|^2 + |b|^2; below it products of rows lose too many digits."""
_PAIRS_AT_ONCE = 64


def row_distances(a: Tensor, b: Tensor) -> Tensor:
    """(M, D), (K, D) -> (M, K), exactly 0 for equal rows; in float32, or in float64 of float64 rows.

    Right to an ulp of float32, and to 1e-12 of float64, however near to each other rows are.
    """
    dtype = torch.promote_types(a.dtype, torch.float32)
    with torch.autocast(a.device.type, enabled=False):
        distances: Tensor = _RowDistances.apply(a.to(dtype), b.to(dtype))
    return distances


class _RowDistances(torch.autograd.Function):
    """cdist by matrix products, forward and back; rows near each other by their differences, where products cancel.

    Which those are is found on a CPU alone: an accelerator would have to be waited for, and is quick at differences.
    """

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor) -> Tensor:
        if a.device.type == "cpu":
            distances, near = _distances_by_products(a, b)
        else:
            distances = torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist")
            near = torch.empty(0, 2, dtype=torch.int64, device=a.device)
        ctx.save_for_backward(a, b, distances, near)
        return distances

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, Tensor]:
        a, b, distances, near = ctx.saved_tensors
        weights = torch.where(distances > 0, grad_outputs[0] / distances, 0.0)  # equal rows: subgradient 0
        weights[near.unbind(1)] = 0.0
        of_a = (weights.sum(1, keepdim=True) * a).addmm_(weights, b, alpha=-1.0)
        of_b = (weights.sum(0)[:, None] * b).addmm_(weights.mT, a, alpha=-1.0)
        for i, j, difference, length in _differences(a, b, near):
            direction = difference / length.masked_fill(length == 0, 1.0)
            pull = grad_outputs[0][i, j, None] * direction.to(a.dtype)
            of_a.index_add_(0, i, pull)
            of_b.index_add_(0, j, pull, alpha=-1.0)
        return of_a, of_b


def _distances_by_products(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """(M, K), and the places (P, 2) at which |a|^2 + |b|^2 - 2 a.b cancels."""
    wide_a, wide_b = a.double(), b.double()
    squares = wide_a.norm(dim=1, keepdim=True) ** 2 + wide_b.norm(dim=1) ** 2
    between = torch.addmm(squares, wide_a, wide_b.mT, alpha=-2.0)
    near = (~(between > _NEARLY_EQUAL * squares)).nonzero()  # also where squares overflow or underflow
    distances = between.sqrt_().to(a.dtype)
    for i, j, _, length in _differences(a, b, near):
        distances[i, j] = length[:, 0].to(a.dtype)
    return distances, near


def _differences(a: Tensor, b: Tensor, pairs: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
    """i, j, a[i] - b[j] and its norms (P, 1) in float64, some pairs at a time."""
    for piece in pairs.split(_PAIRS_AT_ONCE):
        i, j = piece.unbind(1)
        difference = a[i].double() - b[j].double()
        yield i, j, difference, difference.norm(dim=1, keepdim=True)
