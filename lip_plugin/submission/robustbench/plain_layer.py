"""An operator as a person would write it in torch: what it needs in ``__init__``, and its part of ``forward``."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lip_plugin.errors import UnsupportedLayerError
from lip_plugin.network import (
    Activation,
    AvgPool,
    ChannelShuffle,
    Conv,
    Dense,
    Flatten,
    Head,
    L2Pool,
    MaxPool,
    MinMax,
    Offset,
    Operator,
    PixelShuffle,
    PixelUnshuffle,
    Scale,
)
from lip_plugin.types import Shape


@dataclass(frozen=True)
class PlainLayer:
    """``code`` is an expression in which ``{x}`` is the input and ``{self}`` the layer's own module or buffer.

    ``declared`` constructs that module, or the buffer where ``is_buffer``; it is empty for a layer without tensors.
    ``before`` prepares x in a statement of its own. ``helper`` names the function of the file that it calls.
    ``wraps``: a call that reads well around another one.
    """

    code: str
    name: str = ""
    declared: str = ""
    is_buffer: bool = False
    before: str = ""
    helper: str = ""
    wraps: bool = False


def plain_layer(operator: Operator, input_shape: Shape) -> PlainLayer:
    """The same torch calls in the same order as `operator.apply`. Raises UnsupportedLayerError naming the operator."""
    if operator.kind not in PLAIN_FORMS:
        raise UnsupportedLayerError(f"operator {operator.kind!r} has no form in plain torch")
    return PLAIN_FORMS[operator.kind](operator, input_shape)


def _conv(conv: Conv, _: Shape) -> PlainLayer:
    outputs, per_group, *kernel = conv.weight.shape
    top, bottom, left, right = conv.padding
    inside = conv.padding_mode == "zeros" and (top, left) == (bottom, right)
    settings = {
        "stride": (_short(conv.stride), "1"),
        "padding": (_short((top, left)) if inside else "0", "0"),
        "dilation": (_short(conv.dilation), "1"),
        "groups": (str(conv.groups), "1"),
        **_common(conv.weight, conv.bias),
    }
    mode = ', mode="circular"' if conv.padding_mode == "circular" else ""
    before = "" if inside else f"F.pad({{x}}, ({left}, {right}, {top}, {bottom}){mode})"
    arguments = [str(per_group * conv.groups), str(outputs), _short(tuple(kernel)), *_changed(settings)]
    return _summed(conv, f"nn.Conv2d({', '.join(arguments)})", before)


def _dense(dense: Dense, _: Shape) -> PlainLayer:
    outputs, inputs = dense.weight.shape
    arguments = [str(inputs), str(outputs), *_changed(_common(dense.weight, dense.bias))]
    return _summed(dense, f"nn.Linear({', '.join(arguments)})")


def _summed(layer: Conv | Dense, declared: str, before: str = "") -> PlainLayer:
    """The module alone, or the function of the file that adds its sums up in parts."""
    if layer.parts == 1:
        return PlainLayer("{self}({x})", layer.kind, declared, before=before)
    code = f"in_parts({{self}}, {{x}}, {layer.part_size})"
    return PlainLayer(code, layer.kind, declared, before=before, helper="in_parts")


def _per_channel(values: Tensor, name: str, sign: str, input_shape: Shape) -> PlainLayer:
    size = "()" if values.dim() == 0 else str(len(values))
    dtype = ", dtype=torch.float64" if values.dtype == torch.float64 else ""
    view = ".view(-1, 1, 1)" if values.dim() == 1 and len(input_shape) == 3 else ""
    return PlainLayer(f"{{x}} {sign} {{self}}{view}", name, f"torch.zeros({size}{dtype})", is_buffer=True)


def _offset(offset: Offset, input_shape: Shape) -> PlainLayer:
    return _per_channel(offset.offset, "offset", "+", input_shape)


def _scale(scale: Scale, input_shape: Shape) -> PlainLayer:
    return _per_channel(scale.scale, "scale", "*", input_shape)


def _activation(activation: Activation, _: Shape) -> PlainLayer:
    parameter = f", {activation.parameter!r}" if activation.function in ("leaky_relu", "elu") else ""
    module = "F" if activation.function in ("relu", "leaky_relu", "elu") else "torch"
    return PlainLayer(f"{module}.{activation.function}({{x}}{parameter})", wraps=True)


def _avg_pool(pool: AvgPool, _: Shape) -> PlainLayer:
    return PlainLayer(f"F.avg_pool2d({{x}}, {_short(pool.kernel)}, {_short(pool.stride)}, {_short(pool.padding)})")


def _max_pool(pool: MaxPool, _: Shape) -> PlainLayer:
    settings = ", ".join(_short(pair) for pair in (pool.kernel, pool.stride, pool.padding, pool.dilation))
    return PlainLayer(f"F.max_pool2d({{x}}, {settings})")


def _l2_pool(pool: L2Pool, _: Shape) -> PlainLayer:
    root = math.sqrt(math.prod(pool.kernel))
    return PlainLayer(f"l2_pool({{x}}, {_short(pool.kernel)}, {root!r})", helper="l2_pool")


def _channel_shuffle(shuffle: ChannelShuffle, _: Shape) -> PlainLayer:
    return PlainLayer(f"{{x}}.unflatten(1, ({shuffle.groups}, -1)).transpose(1, 2).flatten(1, 2)")


PLAIN_FORMS: dict[str, Callable[[Any, Shape], PlainLayer]] = {
    Conv.kind: _conv,
    Dense.kind: _dense,
    Head.kind: _dense,
    Offset.kind: _offset,
    Scale.kind: _scale,
    Activation.kind: _activation,
    MinMax.kind: lambda _, __: PlainLayer("minmax({x})", helper="minmax", wraps=True),
    AvgPool.kind: _avg_pool,
    MaxPool.kind: _max_pool,
    L2Pool.kind: _l2_pool,
    Flatten.kind: lambda _, __: PlainLayer("{x}.flatten(1)"),
    PixelShuffle.kind: lambda shuffle, _: PlainLayer(f"F.pixel_shuffle({{x}}, {shuffle.factor})"),
    PixelUnshuffle.kind: lambda shuffle, _: PlainLayer(f"F.pixel_unshuffle({{x}}, {shuffle.factor})"),
    ChannelShuffle.kind: _channel_shuffle,
}
"""By the kind of operator; the second argument is its input shape."""


def _common(weight: Tensor, bias: Tensor | None) -> dict[str, tuple[str, str]]:
    """Of every layer with a weight: keyword -> (value, default)."""
    return {
        "bias": ("True" if bias is not None else "False", "True"),
        "dtype": ("torch.float64" if weight.dtype == torch.float64 else "", ""),
    }


def _changed(settings: dict[str, tuple[str, str]]) -> list[str]:
    return [f"{name}={value}" for name, (value, default) in settings.items() if value != default]


def _short(pair: tuple[int, ...]) -> str:
    """One number where all are equal."""
    return str(pair[0]) if len(set(pair)) == 1 else repr(pair)
