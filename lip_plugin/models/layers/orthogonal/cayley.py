"""Orthonormal rows by the Cayley transform (I + S)^(-1) (I - S) of a skew-symmetric matrix.

Source: Trockman, Kolter, "Orthogonalizing Convolutional Layers with the Cayley Transform", ICLR 2021
(arXiv 2104.07167), for the transform as a layer and for its first rows without the square matrix.
"""

from __future__ import annotations

import torch
from torch import Tensor


def cayley_orthogonal(x: Tensor) -> Tensor:
    """(..., M, N), M <= N -> the first M rows of the transform of S = [[U - U^T, V], [-V^T, 0]], X = [U, V].

    By the Schur complement B = U - U^T + V V^T they are (I + B)^(-1) [I - B, -2 V] with one solve of size M; the
    symmetric part of I + B is at least I. Exact for every X. Differentiable.
    """
    rows = x.shape[-2]
    u, v = x[..., :rows], x[..., rows:]
    b = u - u.mT + v @ v.mT
    identity = torch.eye(rows, dtype=x.dtype, device=x.device)
    return torch.linalg.solve(identity + b, torch.cat([identity - b, -2 * v], -1))
