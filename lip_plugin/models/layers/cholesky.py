"""Cholesky orthogonalisation: rows of W = C^{-1} X are orthonormal up to a contraction below one.

Source: Hu et al., ICLR 2024 (arXiv 2310.02513).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

_RIDGE = 1e-3


def cholesky_orthogonal(x: Tensor) -> Tensor:
    """(..., M, N) -> (..., M, N): C^{-1} X with C C^T = X X^T + ridge I, ridge = 1e-3 mean diag(X X^T).

    W W^T = I - ridge C^{-1} C^{-T}, so the exact norm is below one. Differentiable once; computed in at least
    float32 whatever autocast says.
    """
    with torch.autocast(x.device.type, enabled=False):
        x = x if x.dtype == torch.float64 else x.float()
        result: tuple[Tensor, Tensor] = _CholeskyOrthogonal.apply(x)
        return result[0]


class _CholeskyOrthogonal(torch.autograd.Function):
    """One triangular solve and two products back; step by step autograd takes twice as long.

    With G the gradient of W and Q the symmetric matrix whose lower triangle is that of G W^T, the gradient of X is
    C^{-T} (G - Q W), and through the ridge X times (<Q W, W> - tr Q) / |X|^2.
    """

    @staticmethod
    def forward(x: Tensor) -> tuple[Tensor, Tensor]:
        gram = x @ x.mT
        diagonal = gram.diagonal(dim1=-2, dim2=-1)
        diagonal.add_(_RIDGE * diagonal.mean(-1, keepdim=True))
        factor = torch.linalg.cholesky(gram)
        return torch.linalg.solve_triangular(factor, x, upper=False), factor

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: tuple[Tensor, Tensor]) -> None:
        ctx.mark_non_differentiable(output[1])
        ctx.save_for_backward(*inputs, *output)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        x, w, factor = ctx.saved_tensors
        lower = (grad_outputs[0] @ w.mT).tril()
        q = lower + lower.tril(-1).mT
        qw = q @ w
        along = (qw * w).sum((-2, -1)) - q.diagonal(dim1=-2, dim2=-1).sum(-1)
        of_x = torch.linalg.solve_triangular(factor.mT, grad_outputs[0] - qw, upper=True)
        return of_x + (along / x.square().sum((-2, -1)))[..., None, None] * x
