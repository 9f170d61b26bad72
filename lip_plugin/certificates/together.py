"""Scales bounded together with a linear layer beside them: ||A diag(s)|| is at most ||A|| max |s|, and often far below.

A scale that follows a linear layer (but for offsets) multiplies its rows, another one the columns of the next linear
layer, past operators that move entries, or that keep channels apart: average pools, padding. What runs stays as it
is; only the bound is that of the product. Its entries are formed in float64, each by k multiplications, so that it is
off by at most gamma(k) |A'| entry by entry, hence in the norm by at most gamma(k) || |A'| ||, as long as no product
underflows: a scale with which one would stays by itself. Offsets change no norm.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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
from lip_plugin.network.operators.proved import proved_bound
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
        bound = proved_bound(self.operator, shape).value
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


@dataclass(frozen=True)
class Placement:
    """A scale, and the linear layer beside it that can take it: layers by their index, and what reaches its weight.

    ``sources``: which channel of the scale multiplies every output (``rows``) or every input channel of the weight.
    """

    scale: int
    target: int
    rows: bool
    sources: Tensor

    def factor(self, layers: Sequence[Operator]) -> Tensor:
        """The scale, to be multiplied with the weight; differentiable."""
        scale, layer = layers[self.scale], layers[self.target]
        assert isinstance(scale, Scale) and is_linear(layer)
        values = scale.scale
        if values.dim() == 0:
            values = values.expand(len(self.sources))
        elif not torch.equal(self.sources, torch.arange(len(values))):  # the index would be sent to the device
            values = values[self.sources.to(values.device)]
        if self.rows:
            return values.view(-1, *[1] * (layer.weight.dim() - 1))
        if isinstance(layer, Conv):
            values = values.view(layer.groups, 1, -1, 1, 1)
            values = values.expand(-1, len(layer.weight) // layer.groups, -1, 1, 1).flatten(0, 1)
        return values


def placements(layers: Sequence[Operator], shapes: Sequence[Shape]) -> Iterator[Placement]:
    """For every scale that can be in another layer's weight; by kinds and shapes alone, whatever the numbers.

    ``shapes`` are the input shapes of the layers, of which the last is the head.
    """
    for index, layer in enumerate(layers):
        if not isinstance(layer, Scale):
            continue
        channels = torch.arange(shapes[index][0], device="cpu") * (layer.scale.dim() > 0)
        target = _linear_before(layers, index)
        if target is not None:
            yield Placement(index, target, True, channels)
        elif (carried := _carried(layers, shapes, index, channels)) is not None:
            yield Placement(index, carried[0], False, carried[1])


def merged(layers: Sequence[Operator], shapes: Sequence[Shape]) -> list[Merged | None]:
    """For every layer what it is bounded as; None for a scale that is in another layer's weight. See `placements`."""
    exact = [layer.map_tensors(_exact) if isinstance(layer, Scale) else layer for layer in layers]
    found: list[Merged | None] = [Merged(layer) for layer in layers]
    for place in placements(layers, shapes):
        together = _scaled(found[place.target], place.factor(exact))
        if together is not None:
            found[place.target], found[place.scale] = together, None
    return found


def scaled_layers(layers: Sequence[Operator], shapes: Sequence[Shape]) -> list[Operator | None]:
    """As `merged`, unproved: weights times scales in their own dtype, differentiable in both, for training."""
    found: list[Operator | None] = list(layers)
    for place in placements(layers, shapes):
        target = found[place.target]
        assert target is not None and is_linear(target)
        found[place.target] = replace(target, weight=target.weight * place.factor(layers), bias=None)
        found[place.scale] = None
    return found


def _linear_before(layers: Sequence[Operator], index: int) -> int | None:
    while index > 0 and isinstance(layers[index - 1], Offset | Scale):
        index -= 1
    return index - 1 if index > 0 and is_linear(layers[index - 1]) else None


def _carried(
    layers: Sequence[Operator], shapes: Sequence[Shape], index: int, channels: Tensor
) -> tuple[int, Tensor] | None:
    """The next linear layer, and the channel of the scale that arrives at each of its input channels."""
    values = _spread(channels, shapes[index])  # a channel for every entry
    for place in range(index + 1, min(index + _FARTHEST, len(layers))):
        layer = layers[place]
        if isinstance(layer, _MOVES):
            values = layer.apply(values[None])[0]
        elif isinstance(layer, Conv | Dense | AvgPool | Pad):
            arrived = _per_channel(values)
            if arrived is None:
                return None
            if is_linear(layer):
                return place, arrived
            if not isinstance(layer, AvgPool | Pad):
                return None
            values = _spread(arrived, layer.output_shape(shapes[place]))
        elif not isinstance(layer, Offset | Scale):
            return None
    return None


def _spread(channels: Tensor, shape: Shape) -> Tensor:
    return channels.view(-1, *[1] * (len(shape) - 1)).expand(shape)


def _per_channel(values: Tensor) -> Tensor | None:
    """(C,) of entries that are alike within every channel."""
    flat = values.flatten(1) if values.dim() > 1 else values[:, None]
    return flat[:, 0] if torch.equal(flat, flat[:, :1].expand_as(flat)) else None


def _exact(values: Tensor) -> Tensor:
    return values.detach().double().cpu()


def _scaled(layer: Merged | None, factor: Tensor) -> Merged | None:
    """None where a product leaves the normal floats: what it loses there is relative to nothing, and scales grow it."""
    assert layer is not None and is_linear(layer.operator)
    weight = _exact(layer.operator.weight)
    scaled = weight * factor
    size, nonzero = scaled.abs(), (weight != 0) & (factor != 0)
    if bool((nonzero & ~((size >= _SMALLEST) & (size < torch.inf))).any()):
        return None
    return Merged(replace(layer.operator, weight=scaled, bias=None), layer.roundings + 1)
