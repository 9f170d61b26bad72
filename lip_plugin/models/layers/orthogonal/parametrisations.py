"""Parametrisations of matrices with orthonormal rows or columns by name: what a layer's ``matrix`` may be.

Another one is a function (..., M, N) -> (..., M, N) for M <= N in a file of its own, and a line here. Whatever it
promises, a network that was frozen is bounded from the numbers that it gave.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from lip_plugin.models.layers.cholesky import cholesky_orthogonal
from lip_plugin.models.layers.orthogonal.bjorck import bjorck_orthogonal
from lip_plugin.models.layers.orthogonal.cayley import cayley_orthogonal
from lip_plugin.models.layers.orthogonal.exponential import exponential_orthogonal

MatrixName: TypeAlias = Literal["cholesky", "bjorck", "cayley", "exponential"]

PARAMETRISATIONS: dict[MatrixName, Callable[[Tensor], Tensor]] = {
    "cholesky": cholesky_orthogonal,
    "bjorck": bjorck_orthogonal,
    "cayley": cayley_orthogonal,
    "exponential": exponential_orthogonal,
}


def orthonormal(x: Tensor, matrix: MatrixName) -> Tensor:
    """(..., M, N) -> (..., M, N) with orthonormal rows, or columns where M > N; computed in the dtype of x.

    "cholesky" and "bjorck" stay below that: norms are at most 1 and singular values between 0 and 1 (see there).

        weight = orthonormal(torch.randn(64, 48), "cayley")  # weight.mT @ weight is the identity
    """
    rows = PARAMETRISATIONS[matrix]
    with torch.autocast(x.device.type, enabled=False):
        return rows(x.mT).mT if x.shape[-2] > x.shape[-1] else rows(x)
