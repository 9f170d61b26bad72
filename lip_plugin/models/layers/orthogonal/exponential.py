"""Orthonormal rows by the exponential of a skew-symmetric matrix.

Source: Lezcano-Casado, Martinez-Rubio, "Cheap Orthogonal Constraints in Neural Networks", ICML 2019 (arXiv 1901.08428),
for the map as a parametrisation. That its first rows need no square matrix of the longer side is worked out here.
"""

from __future__ import annotations

import torch
from torch import Tensor


def exponential_orthogonal(x: Tensor) -> Tensor:
    """(..., M, N), M <= N -> the first M rows of exp(S), S = [[U - U^T, V], [-V^T, 0]], X = [U, V].

    The first rows of exp(t S) stay of the form [P, Q V], where P' = P (U - U^T) - Q V V^T and Q' = P: that is
    [P, Q]' = [P, Q] [[U - U^T, I], [-V V^T, 0]], an exponential of size 2 M. Exact for every X. Differentiable.
    """
    rows = x.shape[-2]
    u, v = x[..., :rows], x[..., rows:]
    gram = v @ v.mT
    identity = torch.eye(rows, dtype=x.dtype, device=x.device).expand_as(gram)
    above, below = torch.cat([u - u.mT, identity], -1), torch.cat([-gram, torch.zeros_like(gram)], -1)
    first = torch.linalg.matrix_exp(torch.cat([above, below], -2))[..., :rows, :]
    return torch.cat([first[..., :rows], first[..., rows:] @ v], -1)
