"""Scales bounded together with a linear layer beside them: ||A diag(s)|| is at most ||A|| max |s|, and often far below.

A scale that follows a linear layer (but for offsets) multiplies its rows, another one the columns of the next linear
layer, past operators that move entries, or that keep channels apart: average pools, padding. What runs stays as it
is; only the bound is that of the product. Its entries are formed in float64, each by k multiplications, so that it is
off by at most gamma(k) |A'| entry by entry, hence in the norm by at most gamma(k) || |A'| ||, as long as no product
underflows: a scale with which one would stays by itself. Offsets change no norm.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias, TypeGuard

import torch
from torch import Tensor

from lip_plugin.bounds import abs_norm_upper_bound, row_distance_upper_bound, row_norms_upper_bound
from lip_plugin.bounds.rounding import UNDERFLOW, add_up, gamma, mul_up, sqrt_up
from lip_plugin.network import (
    AvgPool,
    ChannelShuffle,
    Conv,
    Dense,
    Flatten,
    Gather,
    Offset,
    Operator,
    Pad,
    PixelShuffle,
    PixelUnshuffle,
    Reshape,
    Scale,
    SpatialShift,
)
from lip_plugin.types import Shape

_Linear: TypeAlias = "Conv | Dense"
_MOVES = (Flatten, Reshape, Gather, ChannelShuffle, PixelShuffle, PixelUnshuffle, SpatialShift)
"""What only moves entries, and so moves the numbers that they were multiplied by."""

_FARTHEST = 16
"""Layers that a scale is carried past: each moves a whole activation, for every scale."""

_SMALLEST = torch.finfo(torch.float64).smallest_normal


@dataclass(frozen=True)
class Merged:
    """An operator with the scales beside it in its weights (float64, ``roundings`` multiplications per entry)."""

    operator: Operator
    roundings: int = 0

    def lipschitz_upper_bound(self, shape: Shape) -> float:
        bound = self.operator.lipschitz_upper_bound(shape).value
        if not self.roundings:
            return bound
        return add_up(bound, mul_up(gamma(self.roundings), _absolute_norm(self.operator)), self._underflow())

    def row_distance_upper_bound(self, exact_rows: Tensor) -> Tensor:
        """(K, K) of the rows of a head; ``exact_rows`` is the head without scales."""
        assert isinstance(self.operator, Dense)
        distance, norms = row_distance_upper_bound(self.operator.weight), row_norms_upper_bound(self.operator.weight)
        slack = gamma(self.roundings + 4) * (norms[:, None] + norms) + self._underflow()
        above = torch.nextafter(distance + slack, torch.full_like(distance, torch.inf))
        return torch.where(row_distance_upper_bound(exact_rows) > 0, above, torch.zeros_like(above))

    def _underflow(self) -> float:
        return mul_up(float(sum(value.numel() for value in self.operator.tensors().values())), UNDERFLOW)


def _absolute_norm(operator: Operator) -> float:
    """|| |A| ||_2 of a linear layer, from above: every output reads a pixel through at most all taps."""
    assert isinstance(operator, Conv | Dense)
    if isinstance(operator, Dense):
        return abs_norm_upper_bound(operator.weight)
    taps = operator.weight.abs().flatten(2).sum(2)
    return mul_up(
        sqrt_up(_columns(taps, operator.groups)),
        sqrt_up(float(taps.sum(1).max())),
        1.0 + gamma(operator.weight.numel()),
    )


def _columns(taps: Tensor, groups: int) -> float:
    return float(taps.unflatten(0, (groups, -1)).sum(1).max())


def is_linear(operator: Operator) -> TypeGuard[_Linear]:
    """Whether scales are taken into its weight. Circular and mirrored padding read a pixel more than once per tap."""
    return isinstance(operator, Dense) or (isinstance(operator, Conv) and operator.padding_mode == "zeros")


def merged(layers: Sequence[Operator], shapes: Sequence[Shape]) -> list[Merged | None]:
    """For every layer what it is bounded as; None for a scale that is in another layer's weight.

    ``shapes`` are the input shapes of the layers, of which the last is the head.
    """
    found: list[Merged | None] = [Merged(layer) for layer in layers]
    for index, layer in enumerate(layers):
        if not isinstance(layer, Scale):
            continue
        target, together = _linear_before(layers, index), None
        if target is not None:
            together = _with_rows(found[target], _channels(layer.scale, shapes[index][0]))
        elif (carried := _carried(layers, shapes, index)) is not None:
            target, together = carried[0], _with_columns(found[carried[0]], carried[1])
        if target is not None and together is not None:
            found[target], found[index] = together, None
    return found


def _linear_before(layers: Sequence[Operator], index: int) -> int | None:
    while index > 0 and isinstance(layers[index - 1], Offset | Scale):
        index -= 1
    return index - 1 if index > 0 and is_linear(layers[index - 1]) else None


def _carried(layers: Sequence[Operator], shapes: Sequence[Shape], index: int) -> tuple[int, Tensor] | None:
    """The next linear layer, and the scale (float64, one number per input channel) as it arrives there."""
    scale = layers[index]
    assert isinstance(scale, Scale)
    values = _spread(_channels(scale.scale, shapes[index][0]), shapes[index])  # a number for every entry
    for place in range(index + 1, min(index + _FARTHEST, len(layers))):
        layer = layers[place]
        if isinstance(layer, _MOVES):
            values = layer.apply(values[None])[0]
        elif isinstance(layer, Conv | Dense | AvgPool | Pad):
            channels = _per_channel(values)
            if channels is None:
                return None
            if is_linear(layer):
                return place, channels
            if not isinstance(layer, AvgPool | Pad):
                return None
            values = _spread(channels, layer.output_shape(shapes[place]))
        elif not isinstance(layer, Offset | Scale):
            return None
    return None


def _spread(channels: Tensor, shape: Shape) -> Tensor:
    return channels.view(-1, *[1] * (len(shape) - 1)).expand(shape)


def _per_channel(values: Tensor) -> Tensor | None:
    """(C,) of entries that are alike within every channel."""
    flat = values.flatten(1) if values.dim() > 1 else values[:, None]
    return flat[:, 0] if torch.equal(flat, flat[:, :1].expand_as(flat)) else None


def _channels(values: Tensor, count: int) -> Tensor:
    wide = values.detach().double().cpu()
    return wide.expand(count) if wide.dim() == 0 else wide


def _weight(layer: Merged | None) -> tuple[_Linear, Tensor, int]:
    assert layer is not None and is_linear(layer.operator)
    return layer.operator, layer.operator.weight.detach().double().cpu(), layer.roundings + 1


def _with_rows(layer: Merged | None, values: Tensor) -> Merged | None:
    operator, weight, roundings = _weight(layer)
    return _scaled(operator, weight, values.view(-1, *[1] * (weight.dim() - 1)), roundings)


def _with_columns(layer: Merged | None, values: Tensor) -> Merged | None:
    operator, weight, roundings = _weight(layer)
    if isinstance(operator, Conv):
        values = values.view(operator.groups, 1, -1, 1, 1)
        values = values.expand(-1, len(weight) // operator.groups, -1, 1, 1).flatten(0, 1)
    return _scaled(operator, weight, values, roundings)


def _scaled(operator: _Linear, weight: Tensor, factor: Tensor, roundings: int) -> Merged | None:
    """None where a product leaves the normal floats: what it loses there is relative to nothing, and scales grow it."""
    scaled = weight * factor
    size, nonzero = scaled.abs(), (weight != 0) & (factor != 0)
    if bool((nonzero & ~((size >= _SMALLEST) & (size < torch.inf))).any()):
        return None
    return Merged(replace(operator, weight=scaled, bias=None), roundings)
