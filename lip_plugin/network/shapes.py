"""What a list of operators says about itself: its shapes, and the names of its tensors."""

from __future__ import annotations

from collections.abc import Sequence

from lip_plugin.errors import UnsupportedLayerError
from lip_plugin.network.operators import Operator
from lip_plugin.types import Shape


def buffer_name(index: int, field: str) -> str:
    """``03_weight``: the name of a tensor in the module and in the weights file."""
    return f"{index:02d}_{field}"


def trace_shapes(layers: Sequence[Operator], input_shape: Shape) -> tuple[Shape, ...]:
    """Input shape of every layer and the output shape of the last. Raises where a layer does not fit."""
    good = isinstance(input_shape, tuple | list) and len(input_shape) == 3  # pyright: ignore[reportUnnecessaryIsInstance]
    if not good or not all(type(size) is int and size >= 1 for size in input_shape):
        raise UnsupportedLayerError(f"input_shape must be (C, H, W) of positive integers, got {input_shape!r}")
    shape: Shape = tuple(input_shape)
    shapes: list[Shape] = [shape]
    for index, layer in enumerate(layers):
        try:
            shape = layer.output_shape(shape)
        except UnsupportedLayerError as error:
            raise UnsupportedLayerError(f"layer {index}: {error}") from error
        shapes.append(shape)
    if len(shape) != 1:
        raise UnsupportedLayerError(f"the network ends in shape {shape}; expected (K,) logits")
    return tuple(shapes)
