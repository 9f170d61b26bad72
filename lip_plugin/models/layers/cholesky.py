"""Cholesky orthogonalisation: rows of W = C^{-1} X are orthonormal up to a contraction below one.

Source: Hu et al., ICLR 2024 (arXiv 2310.02513).
"""

from __future__ import annotations

import torch
from torch import Tensor

_RIDGE = 1e-3


def cholesky_orthogonal(x: Tensor) -> Tensor:
    """(..., M, N) -> (..., M, N): C^{-1} X with C C^T = X X^T + ridge I, ridge = 1e-3 mean diag(X X^T).

    W W^T = I - ridge C^{-1} C^{-T}, so the exact norm is below one. Differentiable; computed in at least
    float32 whatever autocast says.
    """
    with torch.autocast(x.device.type, enabled=False):
        x = x if x.dtype == torch.float64 else x.float()
        gram = x @ x.mT
        ridge = _RIDGE * gram.diagonal(dim1=-2, dim2=-1).mean(-1)
        shifted = gram + ridge[..., None, None] * torch.eye(x.shape[-2], dtype=x.dtype, device=x.device)
        factor = torch.linalg.cholesky(shifted)
        return torch.linalg.solve_triangular(factor, x, upper=False)
