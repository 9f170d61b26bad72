"""Adjacent operators as one, where that is one operator again.

Padding goes into the convolution after it, which changes nothing. `folded` also takes scales and offsets into the
linear layer before them: its products are rounded once to the network's dtype, so that it is for the few places that
need one operator (a head, a linear residual block). Everywhere else scales stay what they are, and are bounded together
with their neighbours (`certificates.together`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeAlias, TypeGuard

import torch
from torch import Tensor

from lip_plugin.network import (
    Conv,
    ConvTranspose,
    Dense,
    Offset,
    Operator,
    Pad,
    Scale,
)

_Linear: TypeAlias = "Conv | ConvTranspose | Dense"


def padded_by_themselves(operators: Sequence[Operator]) -> tuple[Operator, ...]:
    """The same operators, padding in the convolutions that can do it."""
    done: list[Operator] = []
    for operator in operators:
        merged = _padded(done[-1], operator) if done and isinstance(operator, Conv) else None
        done[-1 if merged else len(done) :] = [merged or operator]
    return tuple(done)


def folded(operators: Sequence[Operator]) -> tuple[Operator, ...]:
    """The same function, but for one rounding of the weights: scales and offsets in the linear layer before them."""
    done: list[Operator] = []
    for operator in padded_by_themselves(operators):
        if not (done and _merge_last(done, operator)):
            done.append(operator)
    return tuple(done)


def _merge_last(done: list[Operator], operator: Operator) -> bool:
    """Put an operator into the one before it, where that is one operator."""
    last = done[-1]
    merged: Operator | None = None
    if isinstance(last, Conv | ConvTranspose | Dense) and isinstance(operator, Scale):
        merged = _scaled_outputs(last, operator.scale)
    elif isinstance(last, Conv | ConvTranspose | Dense) and _is_per_channel(operator):
        merged = _shifted(last, operator.offset)
    elif isinstance(last, Scale) and isinstance(operator, Scale):
        merged = Scale(_rounded(last.scale.double() * operator.scale.double(), last.scale))
    elif _is_per_channel(last) and _is_per_channel(operator):
        merged = Offset(_rounded(last.offset.double() + operator.offset.double(), last.offset))
    if merged is None or not _is_finite(merged):
        return False
    done[-1] = merged
    return True


def _is_per_channel(operator: Operator) -> TypeGuard[Offset]:
    """An offset that a bias can take, unlike one that differs between positions."""
    return isinstance(operator, Offset) and operator.offset.dim() < 2


def _rounded(value: Tensor, like: Tensor) -> Tensor:
    return value.to(like.dtype)


def _is_finite(operator: Operator) -> bool:
    """A weight in training is not waited for: it counts as finite."""
    return all(value.requires_grad or bool(torch.isfinite(value).all()) for value in operator.tensors().values())


def _padded(pad: Operator, conv: Conv) -> Operator | None:
    """One convolution that pads by itself, where that is the same."""
    if not isinstance(pad, Pad):
        return None
    if any(conv.padding) and not (pad.mode == conv.padding_mode == "zeros"):
        return None
    top, bottom, left, right = (one + other for one, other in zip(pad.padding, conv.padding, strict=True))
    return replace(conv, padding=(top, bottom, left, right), padding_mode=pad.mode)


def _channels(values: Tensor, count: int) -> Tensor:
    """(C,) float64"""
    return values.double().expand(count) if values.dim() == 0 else values.double()


def _outputs(layer: _Linear) -> int:
    return layer.weight.shape[1] * layer.groups if isinstance(layer, ConvTranspose) else layer.weight.shape[0]


def _scaled_outputs(layer: _Linear, scale: Tensor) -> Operator:
    factor = _channels(scale, _outputs(layer))
    weight = layer.weight.double()
    if isinstance(layer, ConvTranspose):
        per_group = factor.view(layer.groups, 1, -1, 1, 1)
        weight = (weight.unflatten(0, (layer.groups, -1)) * per_group).flatten(0, 1)
    else:
        weight = weight * factor.view(-1, *[1] * (weight.dim() - 1))
    bias = None if layer.bias is None else _rounded(layer.bias.double() * factor, layer.bias)
    return replace(layer, weight=_rounded(weight, layer.weight), bias=bias)


def _shifted(layer: _Linear, offset: Tensor) -> Operator:
    shift = _channels(offset, _outputs(layer))
    bias = shift if layer.bias is None else layer.bias.double() + shift
    return replace(layer, bias=_rounded(bias, layer.weight))
