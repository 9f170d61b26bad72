"""Linear maps with fixed weights: dense layers, matrix products, convolutions and their adjoints."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor

from lip_plugin.errors import UnsupportedLayerError
from lip_plugin.network import Conv, ConvTranspose, Dense, Flatten, Operator, Reshape
from lip_plugin.wrapping.registry import rule
from lip_plugin.wrapping.sizes import pair
from lip_plugin.wrapping.traced import Traced, constant


@rule("linear")
def _linear(input: Traced, weight: Tensor, bias: Tensor | None = None) -> Traced:
    return _dense(input, Dense(input.held(weight, "a weight"), input.held(bias, "a bias")))


def _dense(input: Traced, dense: Dense) -> Traced:
    shape = input.features
    if len(shape) > 1 and math.prod(shape[:-1]) > 1:
        raise UnsupportedLayerError(
            f"a linear layer on activations of shape (B, {', '.join(map(str, shape))}) acts on their last axis alone; "
            "put nn.Flatten() before it, or use a 1x1 convolution for one map of channels"
        )
    layers: list[Operator] = [Flatten(), dense, Reshape((*shape[:-1], dense.weight.shape[0]))]
    return input.then(dense) if len(shape) == 1 else input.then(*layers)


@rule("matmul", "mm", "__matmul__")
def _matmul(input: Any, other: Any) -> Traced:
    if not isinstance(input, Traced) or constant(other, "a matrix").dim() != 2:
        raise UnsupportedLayerError("multiplies by the activation from the right, or by no matrix; use x @ W")
    return _dense(input, Dense(input.held(other.T, "a matrix").contiguous()))


@rule("addmm")
def _addmm(input: Any, mat1: Any, mat2: Any, *, beta: float = 1, alpha: float = 1) -> Traced:
    if not isinstance(mat1, Traced) or beta != 1 or alpha != 1:
        raise UnsupportedLayerError("calls addmm in a way that has no rule; use F.linear(x, weight, bias)")
    return _matmul(mat1, mat2).shifted(input)


@rule("conv2d")
def conv2d(
    input: Traced,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Traced:
    weight, spread = input.held(weight, "a weight"), pair(dilation)
    return input.then(
        Conv(
            weight,
            input.held(bias, "a bias"),
            stride=pair(stride),
            padding=_sides(weight, padding, spread),
            dilation=spread,
            groups=groups,
        )
    )


def _sides(weight: Tensor, padding: Any, dilation: tuple[int, int]) -> tuple[int, int, int, int]:
    """(top, bottom, left, right)"""
    if isinstance(padding, str):
        extents = weight.shape[2:] if padding == "same" else (1, 1)
        high, wide = (d * (k - 1) for k, d in zip(extents, dilation, strict=True))
        return high // 2, high - high // 2, wide // 2, wide - wide // 2
    vertical, horizontal = pair(padding)
    return vertical, vertical, horizontal, horizontal


@rule("conv_transpose2d")
def conv_transpose2d(
    input: Traced,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> Traced:
    return input.then(
        ConvTranspose(
            input.held(weight, "a weight"),
            input.held(bias, "a bias"),
            stride=pair(stride),
            padding=pair(padding),
            output_padding=pair(output_padding),
            dilation=pair(dilation),
            groups=groups,
        )
    )
