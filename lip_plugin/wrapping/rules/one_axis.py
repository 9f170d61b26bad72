"""Layers of one axis, (C, L) -> (C', L'): the layer of two axes on (C, 1, L), and back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from lip_plugin.errors import UnsupportedLayerError
from lip_plugin.network import Reshape
from lip_plugin.wrapping.registry import rule
from lip_plugin.wrapping.rules.linear import conv2d, conv_transpose2d
from lip_plugin.wrapping.rules.pools import (
    adaptive_avg_pool,
    adaptive_max_pool,
    avg_pool,
    lp_pool,
    max_pool,
)
from lip_plugin.wrapping.traced import Traced


def on_rows(input: Traced, layer: Callable[[Traced], Traced], name: str) -> Traced:
    """What a layer of two axes makes of (C, 1, L), as (C', L')."""
    shape = input.features
    if len(shape) != 2:
        raise UnsupportedLayerError(
            f"{name} expects (C, L), got shape {shape}; for images use the layer of two axes, for sequences give "
            "input_shape=(C, L)"
        )
    out = layer(input.then(Reshape((shape[0], 1, shape[1]))))
    channels, _, length = out.features
    return out.then(Reshape((channels, length)))


def _size(value: Any, along: int) -> Any:
    """``value`` along the row, ``along`` across it; words and None as they are."""
    if value is None or value == () or value == [] or isinstance(value, str):
        return value
    return (along, int(value[0] if isinstance(value, tuple | list) else value))


@rule("conv1d")
def _conv1d(
    input: Traced,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Traced:
    def layer(rows: Traced) -> Traced:
        sizes = (_size(stride, 1), _size(padding, 0), _size(dilation, 1))
        return conv2d(rows, weight.unsqueeze(2), bias, *sizes, groups)

    return on_rows(input, layer, "Conv1d")


@rule("conv_transpose1d")
def _conv_transpose1d(
    input: Traced,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> Traced:
    def layer(rows: Traced) -> Traced:
        sizes = (_size(stride, 1), _size(padding, 0), _size(output_padding, 0))
        return conv_transpose2d(rows, weight.unsqueeze(2), bias, *sizes, groups, _size(dilation, 1))

    return on_rows(input, layer, "ConvTranspose1d")


@rule("avg_pool1d")
def _avg_pool1d(
    input: Traced,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Traced:
    def layer(rows: Traced) -> Traced:
        return avg_pool(rows, _size(kernel_size, 1), _size(stride, 1), _size(padding, 0), ceil_mode, count_include_pad)

    return on_rows(input, layer, "AvgPool1d")


@rule("max_pool1d")
def _max_pool1d(
    input: Traced,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Traced:
    def layer(rows: Traced) -> Traced:
        sizes = (_size(kernel_size, 1), _size(stride, 1), _size(padding, 0), _size(dilation, 1))
        return max_pool(rows, *sizes, ceil_mode, return_indices)

    return on_rows(input, layer, "MaxPool1d")


@rule("lp_pool1d")
def _lp_pool1d(
    input: Traced, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False
) -> Traced:
    def layer(rows: Traced) -> Traced:
        return lp_pool(rows, norm_type, _size(kernel_size, 1), _size(stride, 1), ceil_mode)

    return on_rows(input, layer, "LPPool1d")


@rule("adaptive_avg_pool1d")
def _adaptive_avg_pool1d(input: Traced, output_size: Any) -> Traced:
    return on_rows(input, lambda rows: adaptive_avg_pool(rows, _size(output_size, 1)), "AdaptiveAvgPool1d")


@rule("adaptive_max_pool1d")
def _adaptive_max_pool1d(input: Traced, output_size: Any, return_indices: bool = False) -> Traced:
    def layer(rows: Traced) -> Traced:
        return adaptive_max_pool(rows, _size(output_size, 1), return_indices)

    return on_rows(input, layer, "AdaptiveMaxPool1d")
