"""Pooling, adaptive pooling where it is pooling, and means, maxima and norms over whole maps."""

from __future__ import annotations

import math
from typing import Any

import torch

from lip_plugin.errors import UnsupportedLayerError
from lip_plugin.network import AvgPool, Flatten, L2Pool, MaxPool, Operator, Pad, Reshape, Scale
from lip_plugin.types import Shape
from lip_plugin.wrapping.registry import rule
from lip_plugin.wrapping.sizes import pair
from lip_plugin.wrapping.traced import Traced


def _require_no_ceiling(
    input: Traced, what: str, ceil_mode: bool, kernel: tuple[int, int], stride: tuple[int, int], extent: tuple[int, int]
) -> None:
    """``ceil_mode`` is nothing where windows come out even."""
    if not ceil_mode:
        return
    sizes = [size + more for size, more in zip(input.features[1:], extent, strict=False)]
    if any((size - k) % s for size, k, s in zip(sizes, kernel, stride, strict=True)):
        raise UnsupportedLayerError(
            f"{what} with ceil_mode has partial windows on {input.features}, which are not bounded; set ceil_mode=False"
        )


@rule("avg_pool2d")
def avg_pool(
    input: Traced,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Traced:
    kernel, pads = pair(kernel_size), pair(padding)
    step = pair(stride, kernel)
    if divisor_override is not None:
        raise UnsupportedLayerError(
            "AvgPool2d with divisor_override can exceed norm 1; leave it away and scale instead"
        )
    if not count_include_pad and pads != (0, 0):
        raise UnsupportedLayerError(
            "AvgPool2d with count_include_pad=False and padding can exceed norm 1; set count_include_pad=True"
        )
    _require_no_ceiling(input, "AvgPool2d", ceil_mode, kernel, step, (2 * pads[0], 2 * pads[1]))
    return input.then(AvgPool(kernel, step, pads))


@rule("max_pool2d")
def max_pool(
    input: Traced,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Traced:
    if return_indices:
        raise UnsupportedLayerError("MaxPool2d with return_indices gives numbers that jump; leave return_indices away")
    kernel, pads, spread = pair(kernel_size), pair(padding), pair(dilation)
    step = pair(stride, kernel)
    reach = (spread[0] * (kernel[0] - 1) + 1, spread[1] * (kernel[1] - 1) + 1)
    if ceil_mode and spread == (1, 1) and len(input.features) == 3:
        input, ceil_mode = _repeated_at_the_end(input, kernel, step, pads), False
    _require_no_ceiling(input, "MaxPool2d", ceil_mode, reach, step, (2 * pads[0], 2 * pads[1]))
    return input.then(MaxPool(kernel, step, pads, spread))


def _repeated_at_the_end(
    input: Traced, kernel: tuple[int, int], step: tuple[int, int], pads: tuple[int, int]
) -> Traced:
    """With the last row and column repeated until no window is partial: maxima of windows that hold them stay.

    As torch counts, no window starts beyond the map and the padding before it.
    """
    more: list[int] = []
    for size, k, s, p in zip(input.features[1:], kernel, step, pads, strict=True):
        windows = -(-(size + 2 * p - k) // s) + 1
        windows -= (windows - 1) * s >= size + p
        more.append(max(0, (windows - 1) * s + k - size - 2 * p))
    return input.then(Pad((0, more[0], 0, more[1]), "replicate")) if any(more) else input


@rule("lp_pool2d")
def lp_pool(input: Traced, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False) -> Traced:
    kernel = pair(kernel_size)
    if float(norm_type) != 2.0 or pair(stride, kernel) != kernel:
        raise UnsupportedLayerError(
            "LPPool2d is 1-Lipschitz only for norm 2, stride = kernel and no ceil_mode; use those"
        )
    _require_no_ceiling(input, "LPPool2d", ceil_mode, kernel, kernel, (0, 0))
    return input.then(L2Pool(kernel))


def _adapted(input: Traced, output_size: Any, name: str) -> tuple[int, int]:
    """The kernel, equal to the stride, of an adaptive pool whose windows are alike."""
    shape = input.features
    if len(shape) != 3:
        raise UnsupportedLayerError(f"{name} expects a (C, H, W) map, got shape {shape}")
    sizes = (output_size, output_size) if isinstance(output_size, int) or output_size is None else tuple(output_size)
    wanted = [own if size is None else int(size) for size, own in zip(sizes, shape[1:], strict=True)]
    if any(own % size for own, size in zip(shape[1:], wanted, strict=True)):
        raise UnsupportedLayerError(
            f"{name} to {wanted[0]}x{wanted[1]} has unequal windows on {shape}; choose sizes that divide "
            f"{shape[1]}x{shape[2]}, or {name.replace('Adaptive', '')} with a kernel"
        )
    return shape[1] // wanted[0], shape[2] // wanted[1]


@rule("adaptive_avg_pool2d")
def adaptive_avg_pool(input: Traced, output_size: Any) -> Traced:
    kernel = _adapted(input, output_size, "AdaptiveAvgPool2d")
    return input.then(AvgPool(kernel, kernel)) if kernel != (1, 1) else input


@rule("adaptive_max_pool2d")
def adaptive_max_pool(input: Traced, output_size: Any, return_indices: bool = False) -> Traced:
    if return_indices:
        raise UnsupportedLayerError("AdaptiveMaxPool2d with return_indices gives numbers that jump; leave it away")
    kernel = _adapted(input, output_size, "AdaptiveMaxPool2d")
    return input.then(MaxPool(kernel, kernel)) if kernel != (1, 1) else input


def whole_map(input: Traced, dim: Any) -> bool:
    """Whether these axes are all of a map's but its channels."""
    axes = (dim,) if isinstance(dim, int) else tuple(dim or ())
    return input.dim() > 2 and sorted(axis % input.dim() for axis in axes) == list(range(2, input.dim()))


def _over_the_map(input: Traced, pool: Any, keepdim: bool) -> Traced:
    """A pool with one window, (C, H, W) or (C, L) -> (C,), or with sizes 1 kept."""
    shape: Shape = input.features
    height, width = shape[1], math.prod(shape[2:])
    before: list[Operator] = [] if len(shape) == 3 else [Reshape((shape[0], height, width))]
    after: list[Operator] = [Flatten()]
    if keepdim:
        after = [] if len(shape) == 3 else [Reshape((shape[0], *[1] * (len(shape) - 1)))]
    return input.then(*before, pool((height, width)), *after)


@rule("mean")
def _mean(input: Traced, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Traced:
    if not whole_map(input, dim) or dtype not in (None, input.dtype):
        raise UnsupportedLayerError(
            f"takes a mean over dimensions {dim}; only the mean over a whole map (2, 3) is an average pool: "
            "for layer norm's centring use a linear layer"
        )
    return _over_the_map(input, lambda kernel: AvgPool(kernel, kernel), keepdim)


@rule("sum")
def _sum(input: Traced, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Traced:
    if not whole_map(input, dim) or dtype not in (None, input.dtype):
        raise UnsupportedLayerError(f"takes a sum over dimensions {dim}; only sums over a whole map (2, 3) are bounded")
    count = math.prod(input.features[1:])
    factor = torch.tensor(float(count), dtype=input.session.dtype, device=input.session.device)
    return _over_the_map(input, lambda kernel: AvgPool(kernel, kernel), keepdim).then(Scale(factor))


@rule("amax")
def _amax(input: Traced, dim: Any = (), keepdim: bool = False) -> Traced:
    if not whole_map(input, dim):
        raise UnsupportedLayerError(
            f"takes maxima over dimensions {dim}; only those over a whole map (2, 3) are a pool"
        )
    return _over_the_map(input, lambda kernel: MaxPool(kernel, kernel), keepdim)


def _vector_norm(input: Traced, order: Any, dim: Any, keepdim: bool) -> Traced:
    if order not in (None, 2, 2.0, "fro") or not whole_map(input, dim):
        raise UnsupportedLayerError(
            f"takes a norm over dimensions {dim}; only the 2-norm of a whole map (2, 3) is a pool, and dividing by the "
            "norm of an activation has no Lipschitz bound"
        )
    return _over_the_map(input, L2Pool, keepdim)


@rule("norm")
def _norm(input: Traced, p: Any = "fro", dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Traced:
    return _vector_norm(input, p, dim, keepdim)


@rule(torch.linalg.vector_norm)
def _linalg_norm(x: Traced, ord: Any = 2, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Traced:
    return _vector_norm(x, ord, dim, keepdim)
