"""Power iteration. These numbers converge from BELOW: they serve training and tests and prove nothing."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

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
    top, bottom, left, right = padding
    mode = "constant" if padding_mode == "zeros" else padding_mode
    channels = weight.shape[1] * groups
    padded_size = (input_size[0] + top + bottom, input_size[1] + left + right)

    def apply(x: Tensor, kernel: Tensor) -> Tensor:
        padded = F.pad(x, (left, right, top, bottom), mode=mode) if max(padding) else x
        return F.conv2d(padded, kernel, stride=stride, dilation=dilation, groups=groups)

    def adjoint(y: Tensor) -> Tensor:
        reached = F.conv_transpose2d(y, fixed, stride=stride, dilation=dilation, groups=groups)
        rest_h, rest_w = padded_size[0] - reached.shape[2], padded_size[1] - reached.shape[3]
        spread = F.pad(reached, (0, rest_w, 0, rest_h))  # pixels behind the last window
        folded = _fold(spread, 2, top, input_size[0], padding_mode == "circular")
        return _fold(folded, 3, left, input_size[1], padding_mode == "circular")

    fixed = weight.detach()
    vector = _start(start, (1, channels, *input_size), weight)
    vector = _power_iteration(vector, lambda x: apply(x, fixed), adjoint, steps)
    return _norm(apply(vector, weight)), vector


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
