"""Proved Lipschitz bounds of pooling layers in the L2 norm."""

from __future__ import annotations

import math

import torch

from lip_plugin.bounds.bound import NormBound
from lip_plugin.bounds.conv import conv_norm_upper_bound
from lip_plugin.bounds.rounding import div_up, mul_up, sqrt_up
from lip_plugin.errors import UnsupportedLayerError


def average_pool_norm_upper_bound(
    kernel: tuple[int, int],
    *,
    input_size: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int] = (0, 0),
) -> NormBound:
    """Upper bound of average pooling's norm: taps of exactly 1 / (kh kw), padding counted as zeros, no ceil_mode.

    The layer is the Kronecker product of an average along H and one along W, so its norm is the product of theirs.
    Each is a one-channel convolution with taps of 1 (exact in float), divided by the kernel size outward.

    Raises:
        UnsupportedLayerError: sizes below 1, or a kernel that does not fit.
    """
    norms = [_sum_pool_norm(size, k, s, p) for size, k, s, p in zip(input_size, kernel, stride, padding, strict=True)]
    return NormBound(mul_up(*(div_up(norm, float(k)) for norm, k in zip(norms, kernel, strict=True))), "average pool")


def _sum_pool_norm(size: int, kernel: int, stride: int, padding: int) -> float:
    """Upper bound of the norm of sums over ``kernel`` pixels along one axis."""
    if kernel < 1:
        raise UnsupportedLayerError(f"a pooling kernel must be >= 1, got {kernel}")
    ones = torch.ones(1, 1, kernel, 1, dtype=torch.float64, device="cpu")
    pads = (padding, padding, 0, 0)
    return conv_norm_upper_bound(ones, input_size=(size, 1), stride=(stride, 1), padding=pads).value


def max_pool_norm_upper_bound(
    kernel: tuple[int, int], *, stride: tuple[int, int], dilation: tuple[int, int] = (1, 1)
) -> NormBound:
    """Upper bound of max pooling's L2 Lipschitz constant, for every map size, padding and ceil_mode.

    Two maxima differ by at most the largest difference in their window, so ||dy||^2 is at most the sum over windows
    of ||dx in the window||^2 <= c ||dx||^2, c the largest number of windows that hold one pixel. Along one axis the
    windows at s o that hold x through tap t satisfy s o = x - d t: t is fixed modulo s / gcd(s, d), which leaves at
    most ceil(k gcd(s, d) / s) of them.

    Raises:
        UnsupportedLayerError: sizes below 1.
    """
    if min(*kernel, *stride, *dilation) < 1:
        raise UnsupportedLayerError(f"max pooling needs sizes >= 1, got {kernel}, {stride}, {dilation}")
    counts = [-(-k * math.gcd(s, d) // s) for k, s, d in zip(kernel, stride, dilation, strict=True)]
    windows = counts[0] * counts[1]
    return NormBound(1.0 if windows == 1 else sqrt_up(float(windows)), "max pool")


def l2_pool_norm_upper_bound(kernel: tuple[int, int], *, stride: tuple[int, int], ceil_mode: bool = False) -> NormBound:
    """The Lipschitz constant 1 of L2 pooling over disjoint windows: | ||a|| - ||b|| | <= ||a - b|| in each.

    Raises:
        UnsupportedLayerError: sizes below 1, overlapping windows, or ceil_mode (torch rescales partial windows).
    """
    if min(*kernel, *stride) < 1 or stride[0] < kernel[0] or stride[1] < kernel[1]:
        raise UnsupportedLayerError(f"L2 pooling needs stride >= kernel >= 1, got kernel={kernel}, stride={stride}")
    if ceil_mode:
        raise UnsupportedLayerError("L2 pooling with ceil_mode exceeds its norm at the border: set ceil_mode=False")
    return NormBound(1.0, "L2 pool")
