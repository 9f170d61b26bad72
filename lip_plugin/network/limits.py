"""How large a stored network may be: far above any image classifier, far below what exhausts a machine.

A card of a few hundred bytes can name settings whose activations, embedding grids or search loops need
terabytes or years. Every quantity that allocation or running time grows with is bounded here, before
anything of its size exists.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lip_plugin.errors import UnsupportedLayerError
from lip_plugin.network.kinds import all_operators
from lip_plugin.network.operators import Head, Operator, Windows
from lip_plugin.types import Shape

LARGEST_WEIGHTS = 2**31
"""Entries of all tensors together."""
LARGEST_ACTIVATION_COUNT = 2**24
"""Entries of one image or activation."""
_LAYERS = 4096
_NESTED = 32  # operators inside one another
_CLASSES = 2**14  # the certifier holds a matrix (K, K)
_GEOMETRY = 1024  # a kernel side, stride, dilation or padding
_COUNT = 2**16  # groups, shuffle factors
_ENTRIES = ("channels", "shape")  # settings that count entries of an activation
_PIXELS = 2**21  # of one map, padding included: the circulant grid has about four times as many
_READS = 2**20  # (output, tap) pairs along one axis
_WORK = 2**52  # products of one forward pass and of the proof, all layers together
_HELD = 2**30  # entries that one image needs at once
_HELD_TOGETHER = 2**27  # and a block of images, where it has more than one: 1 GB in float64
_PER_LAYER, _PER_ENTRY = 2**26, 2**8  # products that take as long as a layer, however small, and as moving an entry


def check_settings(settings: Mapping[str, Any]) -> None:
    """Raise UnsupportedLayerError where a number in an operator's settings is beyond any geometry."""
    for name, value in settings.items():
        inner = [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []
        for record in inner:  # an operator inside this one
            check_settings(record["settings"] if isinstance(record.get("settings"), dict) else record)
        numbers, largest = (value, _GEOMETRY) if isinstance(value, list) else ([value], _COUNT)
        if name in _ENTRIES:
            largest = LARGEST_ACTIVATION_COUNT
        if any(isinstance(number, int) and abs(number) > largest for number in numbers):
            raise UnsupportedLayerError(f"setting {name} has a number beyond {largest}; no such layer is loaded")


def check_size(layers: Sequence[Operator], input_shape: Shape) -> None:
    """Raise UnsupportedLayerError where a network is too large to be stored, loaded or proved."""
    count = sum(1 for _ in all_operators(layers))
    if count > _LAYERS:
        raise UnsupportedLayerError(f"{count} layers; at most {_LAYERS} are loaded")
    _require("the network", _depth(layers), _NESTED, "operators inside one another")
    _require("input", math.prod(input_shape), LARGEST_ACTIVATION_COUNT, "entries")
    _checked_work(layers, tuple(input_shape), 0, "layer ")


def _depth(layers: Sequence[Operator]) -> int:
    return max((1 + max(map(_depth, layer.chains()), default=0) for layer in layers), default=0)


def _checked_work(layers: Sequence[Operator], shape: Shape, work: int, place: str) -> int:
    """``work`` and that of a chain, whose layers are checked one by one."""
    for index, layer in enumerate(layers):
        name = f"{place}{index} ({layer.kind})"
        for windows in layer.windows(shape):
            _check_windows(windows, name)
        for chain in layer.chains():
            work = _checked_work(chain, shape, work, f"{place}{index}.")
        try:
            out = layer.output_shape(shape)
        except UnsupportedLayerError as error:
            raise UnsupportedLayerError(f"{place}{index}: {error}") from error
        _require(name, math.prod(out), LARGEST_ACTIVATION_COUNT, "entries of output")
        if isinstance(layer, Head):
            _require("the head", out[0], _CLASSES, "classes")
        _require(name, layer.held(shape), _HELD, "entries at once")
        work += sum(layer_work(layer, shape))
        _require("the network up to " + name, work, _WORK, "products")
        shape = out
    return work


def layer_work(layer: Operator, shape: Shape) -> tuple[int, int]:
    """Products of a forward pass of one image and of the proof, or what takes as long; chains apart."""
    moved = math.prod(shape) + math.prod(layer.output_shape(shape))
    return layer.work(shape) + _PER_ENTRY * moved, layer.proof_work(shape) + _PER_LAYER


def network_work(layers: Sequence[Operator], input_shape: Shape) -> tuple[int, int]:
    """`layer_work` of all layers together."""
    works = [layer_work(layer, shape) for layer, shape in placed_layers(layers, input_shape)]
    return sum(forward for forward, _ in works), sum(proof for _, proof in works)


def images_at_once(layers: Sequence[Operator], input_shape: Shape, most: int, entries: int = _HELD_TOGETHER) -> int:
    """How many images, up to ``most``, go through a network together without holding more than ``entries``."""
    held = max(layer.held(shape) for layer, shape in placed_layers(layers, input_shape))
    return max(1, min(most, entries // held))


def placed_layers(layers: Sequence[Operator], shape: Shape) -> Iterator[tuple[Operator, Shape]]:
    """Every operator, those inside others too, with its input shape."""
    for layer in layers:
        yield layer, shape
        for chain in layer.chains():
            yield from placed_layers(chain, shape)
        shape = layer.output_shape(shape)


def _require(what: str, found: int, largest: int, unit: str) -> None:
    if found > largest:
        raise UnsupportedLayerError(f"{what} asks for {found} {unit}; at most {largest} are loaded")


def _check_windows(windows: Windows, name: str) -> None:
    _require(name, math.prod(axis.padded for axis in windows), _PIXELS, "pixels, padding included")
    for axis in windows:
        _require(name, axis.taps, _GEOMETRY, "taps along an axis")
        _require(name, axis.outputs * axis.taps, _READS, "reads along an axis")
