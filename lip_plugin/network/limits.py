"""How large a stored network may be: far above any image classifier, far below what exhausts a machine.

A card of a few hundred bytes can name settings whose activations, embedding grids or search loops need
terabytes or years. Every quantity that allocation or running time grows with is bounded here, before
anything of its size exists.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lip_plugin.errors import UnsupportedLayerError
from lip_plugin.network.operators import AvgPool, Conv, Dense, Head, L2Pool, MaxPool, Operator
from lip_plugin.types import Shape

LARGEST_WEIGHTS = 2**31
"""Entries of all tensors together."""
LARGEST_ACTIVATION_COUNT = 2**24
"""Entries of one image or activation."""
_LAYERS = 4096
_CLASSES = 2**14  # the certifier holds a matrix (K, K)
_GEOMETRY = 1024  # a kernel side, stride, dilation or padding
_COUNT = 2**16  # groups, shuffle factors
_PIXELS = 2**21  # of one map, padding included: the circulant grid has about four times as many
_READS = 2**20  # (output, tap) pairs along one axis
_WORK = 2**52  # products of one forward pass and of the proof, all layers together


@dataclass(frozen=True)
class _Axis:
    padded: int
    taps: int
    outputs: int


def check_settings(settings: Mapping[str, Any]) -> None:
    """Raise UnsupportedLayerError where a number in an operator's settings is beyond any geometry."""
    for name, value in settings.items():
        numbers, largest = (value, _GEOMETRY) if isinstance(value, list) else ([value], _COUNT)
        if any(isinstance(number, int) and abs(number) > largest for number in numbers):
            raise UnsupportedLayerError(f"setting {name} has a number beyond {largest}; no such layer is loaded")


def check_size(layers: Sequence[Operator], input_shape: Shape) -> None:
    """Raise UnsupportedLayerError where a network is too large to be stored, loaded or proved."""
    if len(layers) > _LAYERS:
        raise UnsupportedLayerError(f"{len(layers)} layers; at most {_LAYERS} are loaded")
    shape, work = tuple(input_shape), 0
    _require("input", math.prod(shape), LARGEST_ACTIVATION_COUNT, "entries")
    for index, layer in enumerate(layers):
        name = f"layer {index} ({layer.kind})"
        _check_windows(layer, shape, name)
        try:
            out = layer.output_shape(shape)
        except UnsupportedLayerError as error:
            raise UnsupportedLayerError(f"layer {index}: {error}") from error
        _require(name, math.prod(out), LARGEST_ACTIVATION_COUNT, "entries of output")
        work += _work(layer, shape, out)
        _require("the network up to " + name, work, _WORK, "products")
        shape = out


def _require(what: str, found: int, largest: int, unit: str) -> None:
    if found > largest:
        raise UnsupportedLayerError(f"{what} asks for {found} {unit}; at most {largest} are loaded")


def _check_windows(layer: Operator, shape: Shape, name: str) -> None:
    axes = list(_axes(layer, shape))
    _require(name, math.prod(axis.padded for axis in axes), _PIXELS, "pixels, padding included")
    for axis in axes:
        _require(name, axis.taps, _GEOMETRY, "taps along an axis")
        _require(name, axis.outputs * axis.taps, _READS, "reads along an axis")


def _axes(layer: Operator, shape: Shape) -> Iterator[_Axis]:
    """Both axes of a layer that slides windows over a map; nothing for other layers and misfits."""
    if len(shape) != 3:
        return
    if isinstance(layer, Conv):
        kernel, stride, dilation = tuple(layer.weight.shape[2:]), layer.stride, layer.dilation
        padding = (sum(layer.padding[:2]), sum(layer.padding[2:]))
    elif isinstance(layer, AvgPool | MaxPool | L2Pool):
        kernel, (stride, half, dilation) = layer.kernel, layer.window()
        padding = (2 * half[0], 2 * half[1])
    else:
        return
    for size, taps, step, spread, pad in zip(shape[1:], kernel, stride, dilation, padding, strict=True):
        yield _Axis(size + pad, taps, max(0, (size + pad - spread * (taps - 1) - 1) // step + 1))


def _work(layer: Operator, shape: Shape, out: Shape) -> int:
    """Products of a forward pass and, roughly, of the Cholesky proof (frequencies * m^2 * n)."""
    if isinstance(layer, Head):
        _require("the head", out[0], _CLASSES, "classes")
        return out[0] ** 2 * shape[0]
    if isinstance(layer, Dense):
        return out[0] * shape[0] * min(out[0], shape[0])
    if isinstance(layer, Conv):
        entries, outputs = layer.weight.numel(), layer.weight.shape[0]
        side = min(outputs // layer.groups, entries // outputs)
        return math.prod(axis.padded for axis in _axes(layer, shape)) * entries * (side + 1)
    return math.prod(shape)
