"""Power iteration. These numbers converge from BELOW: they serve training and tests and prove nothing."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

_LANCZOS_STEPS = 400

_Map = Callable[[Tensor], Tensor]


def dense_norm_estimate(weight: Tensor, *, start: Tensor | None = None, steps: int = 10) -> tuple[Tensor, Tensor]:
    """LOWER estimate of ||W||_2 for W (O, I), and the unit vector (I,) to start from next time.

    The estimate is ||W v||, differentiable in W with v held fixed, in the dtype and on the device of W. Pure.
    """
    fixed = weight.detach()
    vector = _start(start, (weight.shape[1],), weight)
    vector = _power_iteration(vector, lambda x: fixed @ x, lambda y: fixed.mT @ y, steps)
    return _norm(weight @ vector), vector


def conv_norm_estimate(
    weight: Tensor,
    *,
    input_size: tuple[int, int],
    stride: tuple[int, int] = (1, 1),
    padding: tuple[int, int, int, int] = (0, 0, 0, 0),
    dilation: tuple[int, int] = (1, 1),
    groups: int = 1,
    padding_mode: str = "zeros",
    start: Tensor | None = None,
    steps: int = 10,
) -> tuple[Tensor, Tensor]:
    """LOWER estimate of a convolution's operator norm, and the unit map (1, I, H, W) to start from next time.

    Arguments as ``conv_norm_upper_bound``; ``padding`` is (top, bottom, left, right). The estimate is ||A v||,
    differentiable in the weight with v held fixed. Pure: the caller keeps the vector.
    """
    geometry = _Geometry(input_size, stride, padding, dilation, groups, padding_mode == "circular")
    fixed = weight.detach()
    shape = (1, weight.shape[1] * groups, *input_size)
    vector = _start(start, shape, weight)
    vector = _power_iteration(vector, lambda x: geometry.apply(x, fixed), lambda y: geometry.adjoint(y, fixed), steps)
    return _norm(geometry.apply(vector, weight)), vector


def conv_norm_lanczos_estimate(
    weight: Tensor,
    *,
    input_size: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int, int, int],
    dilation: tuple[int, int],
    groups: int,
    start: Tensor | None = None,
    residual: float = 1e-6,
    enough: float = math.inf,
) -> float:
    """LOWER estimate of a zero-padded convolution's operator norm; arguments as ``conv_norm_upper_bound``.

    Lanczos steps on A^T A, orthogonalised in full, until that of the largest Ritz pair is ``residual`` of its value
    (the value itself is then far closer), 400 at most: power iteration takes thousands where singular values crowd.
    It ends as soon as the estimate is at least ``enough``. ``start`` (1, I, H, W) is a guess of the singular vector.
    """
    geometry = _Geometry(input_size, stride, padding, dilation, groups, circular=False)
    shape = (1, weight.shape[1] * groups, *input_size)
    fixed = weight.detach()
    vector = _start(start, shape, weight).flatten()
    basis = weight.new_zeros(min(_LANCZOS_STEPS, vector.numel()), vector.numel())
    tridiagonal = weight.new_zeros(len(basis) + 1, len(basis) + 1)
    value, largest, look = 0.0, 0.0, 4  # eigenvalues of all steps so far take longer than a step: rarer and rarer
    for step in range(len(basis)):
        basis[step] = vector
        image = geometry.adjoint(geometry.apply(vector.view(shape), fixed), fixed).flatten()
        tridiagonal[step, step] = vector @ image
        for _ in range(2):
            image = image - basis[: step + 1].mT @ (basis[: step + 1] @ image)
        rest = torch.linalg.vector_norm(image)
        tridiagonal[step, step + 1] = tridiagonal[step + 1, step] = rest
        largest = max(largest, float(rest), float(tridiagonal[step, step]))
        exhausted = float(rest) <= 1e-12 * largest  # what is left is rounding
        if exhausted or step == look or step == len(basis) - 1:
            look += max(4, look // 6)
            values, vectors = torch.linalg.eigh(tridiagonal[: step + 1, : step + 1])
            value = float(values[-1])
            if exhausted or value >= enough**2 or float(rest * vectors[-1, -1].abs()) <= residual * value:
                break
        vector = image / rest
    return math.sqrt(max(value, 0.0))


@dataclass(frozen=True)
class _Geometry:
    """A convolution A without its weight, and A^T; arguments as ``conv_norm_upper_bound``."""

    input_size: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int, int, int]
    dilation: tuple[int, int]
    groups: int
    circular: bool

    def apply(self, x: Tensor, kernel: Tensor) -> Tensor:
        top, bottom, left, right = self.padding
        mode = "circular" if self.circular else "constant"
        padded = F.pad(x, (left, right, top, bottom), mode=mode) if max(self.padding) else x
        return F.conv2d(padded, kernel, stride=self.stride, dilation=self.dilation, groups=self.groups)

    def adjoint(self, y: Tensor, kernel: Tensor) -> Tensor:
        top, bottom, left, right = self.padding
        height, width = self.input_size
        reached = F.conv_transpose2d(y, kernel, stride=self.stride, dilation=self.dilation, groups=self.groups)
        rest_h, rest_w = height + top + bottom - reached.shape[2], width + left + right - reached.shape[3]
        spread = F.pad(reached, (0, rest_w, 0, rest_h))  # pixels behind the last window
        return _fold(_fold(spread, 2, top, height, self.circular), 3, left, width, self.circular)


def _start(start: Tensor | None, shape: tuple[int, ...], like: Tensor) -> Tensor:
    """The given vector, or a fixed random one that leaves the global generator alone; normalised."""
    if start is None:
        generator = torch.Generator("cpu").manual_seed(0)
        start = torch.randn(shape, generator=generator, dtype=torch.float64, device="cpu")
    return _normalised(start.detach().to(device=like.device, dtype=like.dtype))


def _power_iteration(vector: Tensor, forward: _Map, adjoint: _Map, steps: int) -> Tensor:
    """``steps`` products with A^T A. A vector that A maps to 0 is returned as it came."""
    with torch.no_grad():
        for _ in range(steps):
            # The image is normalised as well: squares of small weights would underflow.
            image = adjoint(_normalised(forward(vector)))
            if not bool(image.any()):
                break
            vector = _normalised(image)
    return vector


def _norm(vector: Tensor) -> Tensor:
    """The 2-norm, scaled so that the squares of small entries do not underflow; differentiable."""
    largest = vector.detach().abs().max().clamp_min(torch.finfo(vector.dtype).tiny)
    return largest * torch.linalg.vector_norm(vector / largest)


def _normalised(vector: Tensor) -> Tensor:
    """``vector`` over its norm; a divisor of at least ``tiny``, never norm + eps, which shrinks small vectors."""
    return vector / _norm(vector).clamp_min(torch.finfo(vector.dtype).tiny)


def _fold(padded: Tensor, dim: int, before: int, size: int, circular: bool) -> Tensor:
    """Adjoint of padding along one axis: cut the border off, and for circular padding add it where it came from."""
    inner = padded.narrow(dim, before, size)
    after = padded.shape[dim] - before - size
    if not circular or before + after == 0:
        return inner
    folded = inner.clone()
    folded.narrow(dim, size - before, before).add_(padded.narrow(dim, 0, before))
    folded.narrow(dim, 0, after).add_(padded.narrow(dim, before + size, after))
    return folded
