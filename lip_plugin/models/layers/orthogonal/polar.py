"""From a matrix near the orthogonal ones to the nearest: U V^T of its singular value decomposition U S V^T."""

from __future__ import annotations

import torch
from torch import Tensor

_NEAR = 0.5
_CONVERGED = 1e-14
_SMALL_WEIGHT = 0.01
_STEPS, _STEPS_OF_SMALL_WEIGHTS = 5, 3


def polar(matrices: Tensor) -> Tensor:
    """(..., N, N) -> the nearest orthogonal matrices, computed in float64 and rounded once. The host waits for it."""
    wide = matrices.double()
    defect = _defect(wide)
    if not defect < _NEAR:
        u, _, vh = torch.linalg.svd(wide)
        return (u @ vh).to(matrices.dtype)
    while defect > _CONVERGED * wide.shape[-1]:
        wide = newton_schulz(wide)
        before, defect = defect, _defect(wide)
        if defect >= before:
            break
    return wide.to(matrices.dtype)


def orthogonal_mean(a: Tensor, b: Tensor, weight: float) -> Tensor:
    """(..., N, N) orthogonal a, b -> the orthogonal matrices nearest to (1 - weight) a + weight b.

    With equal weights that is the middle of the geodesic from a to b: (I + exp K) / 2 is exp(K / 2) times a positive
    matrix. By a number of Newton-Schulz steps that depends on the weight alone, so that a GPU does not wait: they
    converge to float64 where a and b are less than 70 degrees apart, and with weights up to 0.01 whatever a and b are.
    """
    mean = torch.lerp(a.double(), b.double(), weight)
    small = min(weight, 1 - weight) <= _SMALL_WEIGHT
    for _ in range(_STEPS_OF_SMALL_WEIGHTS if small else _STEPS):
        mean = newton_schulz(mean)
    return mean.to(a.dtype)


def newton_schulz(x: Tensor) -> Tensor:
    """x (3 I - x^T x) / 2: singular values s become s (3 - s^2) / 2, so that 1 - s^2 = e becomes about 3/4 e^2."""
    return 1.5 * x - 0.5 * (x @ (x.mT @ x))


def _defect(x: Tensor) -> float:
    """The largest ||x^T x - I|| (Frobenius) of the stack."""
    identity = torch.eye(x.shape[-1], dtype=x.dtype, device=x.device)
    return float(torch.linalg.matrix_norm(x.mT @ x - identity).max())
