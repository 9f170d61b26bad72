"""The constant of a gradient step on a convex potential, x - W^T diag(g) s(W x + b), slopes of s in [0, 1].

For any two inputs s(W x + b) - s(W y + b) = D W (x - y) with a diagonal D, 0 <= D <= 1, so that outputs differ by
J (x - y), J = I - B^T D B, B = diag(g)^(1/2) W, where g >= 0. J is symmetric with eigenvalues in [1 - ||B||^2, 1]:

    Lip <= max(1, ||B||^2 - 1),

which is 1 where ||B||^2 <= 2. SLL (Araujo et al., ICLR 2023, arXiv 2303.03169) proves that of its g = 2 / T by diagonal
dominance of T - W W^T, CPL (Meunier et al., ICML 2022, arXiv 2110.12690) takes g = 2 / ||W||^2; nothing of that is
relied on here: the norm is proved from the numbers as they are stored.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lip_plugin.bounds.bound import NormBound
from lip_plugin.bounds.conv import conv_norm_upper_bound
from lip_plugin.bounds.rounding import U, add_up, exact_float64, frobenius_upper_bound, mul_up, sqrt_up, up
from lip_plugin.errors import UnsupportedLayerError


def potential_step_upper_bound(
    weight: Tensor, scale: Tensor, *, input_size: tuple[int, int], padding: tuple[int, int]
) -> NormBound:
    """Of a zero-padded convolution W with weight (H, C, kh, kw) and its adjoint; scale g (H,).

    Raises:
        UnsupportedLayerError: a negative scale, where the step follows no convex potential; infinite or NaN numbers.
    """
    exact, factors = exact_float64(weight), exact_float64(scale, "scale")
    if bool((factors < 0).any()):
        raise UnsupportedLayerError("a step on a convex potential needs scales of at least 0")
    scaled = factors.sqrt()[:, None, None, None] * exact
    if not bool(torch.isfinite(scaled).all()):
        raise UnsupportedLayerError("weight and scale overflow together; no norm bound exists")
    around = (padding[0], padding[0], padding[1], padding[1])
    bound = conv_norm_upper_bound(scaled, input_size=input_size, padding=around)
    norm = add_up(bound.value, _entries_error(scaled, input_size, padding))
    return NormBound(max(1.0, up(mul_up(norm, norm) - 1.0)), f"I - B^T D B, norm of B by {bound.method}")


def _entries_error(scaled: Tensor, input_size: tuple[int, int], padding: tuple[int, int]) -> float:
    """Root and product are off by 2 u + u^2 each at most: the error's norm is below its Frobenius norm, in which every
    weight occurs once per output. What underflows is below the smallest subnormal each.
    """
    places = math.prod(
        size + 2 * pad - taps + 1 for size, pad, taps in zip(input_size, padding, scaled.shape[2:], strict=True)
    )
    entries = add_up(mul_up(3.0 * U, frobenius_upper_bound(scaled)), mul_up(float(scaled.numel()), 2.0**-1072))
    return mul_up(entries, sqrt_up(float(places)))
