"""The last linear layer of a chain as its head: what the certifier treats per pair of classes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from lip_plugin.errors import UnsupportedLayerError
from lip_plugin.network import (
    Activation,
    AvgPool,
    Conv,
    Dense,
    Flatten,
    Gather,
    Head,
    Offset,
    Operator,
    Reshape,
    Residual,
    Scale,
)
from lip_plugin.types import Shape
from lip_plugin.wrapping.folding import folded, padded_by_themselves


def with_head(operators: Sequence[Operator], shape: Shape) -> tuple[tuple[Operator, ...], Head]:
    """Features and head of a chain that ends in a linear layer, on images of ``shape``.

    One logit f is the two logits 0 and f of classes 0 and 1. Raises UnsupportedLayerError where there is no such layer.
    """
    layers = list(padded_by_themselves(operators))
    out = chain_shape(layers, shape)
    if sum(size > 1 for size in out) > 1:
        if layers and isinstance(layers[-1], Reshape):
            raise UnsupportedLayerError(f"the network gives {out} numbers for an image; a classifier gives (K,) logits")
    elif len(out) > 1 and isinstance(layers[-1], Conv | AvgPool):
        layers.append(Flatten())  # logits as (K, 1, 1)
    while layers and isinstance(layers[-1], Flatten | Reshape) and len(layers) > 1 and isinstance(layers[-2], Dense):
        layers.pop()  # (K,) as (K, 1, 1) or (), and back
    after = len(layers)
    while after and isinstance(layers[after - 1], Scale | Offset):
        after -= 1
    layers = [*layers[: max(0, after - 1)], *folded(layers[max(0, after - 1) :])]  # scaled or shifted logits
    layers = _convolution_last(layers, shape)
    last = layers[-1] if layers else None
    if type(last) is not Dense and layers and (like := _weight_of_classes(layers, shape)) is not None:
        count = math.prod(out)
        if type(layers[-1]) is not Flatten and len(out) > 1:
            layers.append(Flatten())
        last = Dense(torch.eye(count, dtype=like.dtype, device=like.device))
        layers.append(last)
    if type(last) is not Dense:
        raise UnsupportedLayerError(_no_head(last))
    return tuple(layers[:-1]), _head(last)


def chain_shape(layers: Sequence[Operator], shape: Shape) -> Shape:
    for layer in layers:
        shape = layer.output_shape(shape)
    return shape


def _weight_of_classes(layers: Sequence[Operator], shape: Shape) -> Tensor | None:
    """A weight of the linear layer that the logits are sums, means, multiples or some of; None where there is none.

    Their head is the identity. Maps that are flattened are features, not logits.
    """
    shapes = [chain_shape(layers[:count], shape) for count in range(len(layers))]
    for layer, before in zip(reversed(layers), reversed(shapes), strict=True):
        if isinstance(layer, Conv | Dense):
            return layer.weight
        if isinstance(layer, Residual):
            paths = [_weight_of_classes(path, before) for path in layer.chains()]
            return paths[0] if all(path is not None for path in paths) else None
        if isinstance(layer, Flatten | Reshape) and sum(size > 1 for size in before) > 1:
            return None
        if not isinstance(layer, Flatten | Reshape | AvgPool | Scale | Offset | Gather):
            return None
    return None


def _head(last: Dense) -> Head:
    weight, bias = last.weight, last.bias
    if len(weight) == 1:
        weight = torch.cat([torch.zeros_like(weight), weight])
        bias = None if bias is None else torch.cat([torch.zeros_like(bias), bias])
    return Head(weight, bias)


def _no_head(last: Operator | None) -> str:
    if isinstance(last, Activation) and last.function == "sigmoid":
        return "the network ends in a sigmoid; leave it out: the logit alone has the same decision"
    found = "nothing" if last is None else last.describe()
    return (
        f"the network ends in {found}, and a classifier ends in a linear layer; "
        "give it as head=, or end the module with nn.Linear(features, classes)"
    )


def _convolution_last(layers: list[Operator], shape: Shape) -> list[Operator]:
    """A convolution that gives one number per class: flattened before it, or averaged before it where it is 1x1."""
    kinds = [type(layer) for layer in layers]
    if kinds[-1:] == [Flatten] or kinds[-1:] == [Reshape]:
        layers, kinds = layers[:-1], kinds[:-1]
    else:
        return layers
    shapes = [shape]
    for layer in layers:
        shapes.append(layer.output_shape(shapes[-1]))
    if kinds[-1:] == [Conv] and shapes[-1][1:] == (1, 1):
        conv = layers[-1]
        assert isinstance(conv, Conv)
        if conv.groups == 1 and not any(conv.padding) and tuple(conv.weight.shape[2:]) == shapes[-2][1:]:
            return [*layers[:-1], Flatten(), Dense(conv.weight.flatten(1), conv.bias)]
    if kinds[-2:] == [Conv, AvgPool] and shapes[-1][1:] == (1, 1):
        conv, pool = layers[-2], layers[-1]
        assert isinstance(conv, Conv) and isinstance(pool, AvgPool)
        plain = conv.groups == 1 and not any(conv.padding) and conv.stride == (1, 1) and not any(pool.padding)
        if plain and tuple(conv.weight.shape[2:]) == (1, 1):
            return [*layers[:-2], pool, Flatten(), Dense(conv.weight.flatten(1), conv.bias)]
    return [*layers, Flatten()]
