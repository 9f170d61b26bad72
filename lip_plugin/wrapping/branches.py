"""Two branches that are added: x + f(x), or a shortcut with layers of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from lip_plugin.errors import UnsupportedLayerError
from lip_plugin.network import Conv, Dense, Operator, Residual, Scale
from lip_plugin.types import Shape
from lip_plugin.wrapping.folding import folded, padded_by_themselves
from lip_plugin.wrapping.traced import Traced


def joined(one: Traced, other: Traced) -> Traced:
    """The sum of two activations, which fork where they were last the same."""
    if one.shape != other.shape:
        raise UnsupportedLayerError(
            f"adds activations of shapes {tuple(one.shape)} and {tuple(other.shape)}; only equal shapes are added"
        )
    one, other = one.settle(), other.settle()
    same = [a is b for a, b in zip(one.steps, other.steps, strict=False)]
    fork = same.index(False) if False in same else len(same)
    paths = (one.steps[fork:], other.steps[fork:])
    start = Traced(one.session, one.steps[:fork], shape_after(one, fork))
    if paths == ((), ()):
        return start.scaled(2.0)
    shortcut, branch = sorted(paths, key=len)
    return start.then(residual(branch, shortcut))


def shape_after(activation: Traced, steps: int) -> Shape:
    """The shape (without batch) that the first steps of an activation give."""
    shape = activation.session.input_shape
    for operator in activation.steps[:steps]:
        shape = operator.output_shape(shape)
    return shape


def residual(branch: Sequence[Operator], shortcut: Sequence[Operator] = ()) -> Operator:
    """shortcut(x) + branch(x): one linear layer (I + K) where the branch is one and the shortcut the identity."""
    layers = folded(branch)
    merged = _with_identity(layers[0]) if len(layers) == 1 and not shortcut else None
    if merged is not None:
        return merged
    return Residual(padded_by_themselves(branch), padded_by_themselves(shortcut))


def _with_identity(layer: Operator) -> Operator | None:
    """I + K as one operator, the linear residual block of the paper."""
    if isinstance(layer, Dense) and layer.weight.shape[0] == layer.weight.shape[1]:
        eye = torch.eye(len(layer.weight), dtype=torch.float64, device=layer.weight.device)
        return replace(layer, weight=(layer.weight.double() + eye).to(layer.weight.dtype))
    if isinstance(layer, Scale):
        return Scale(layer.scale + 1.0)
    if not isinstance(layer, Conv) or layer.stride != (1, 1):
        return None
    outputs, per_group, height, width = layer.weight.shape
    top, bottom, left, right = layer.padding
    middle = (layer.dilation[0] * (height // 2), layer.dilation[1] * (width // 2))
    if height % 2 == 0 or width % 2 == 0 or (top, bottom, left, right) != (middle[0], middle[0], middle[1], middle[1]):
        return None
    if outputs != per_group * layer.groups:
        return None
    weight = layer.weight.double().clone()
    own = torch.arange(outputs, device=weight.device)
    weight[own, own % per_group, height // 2, width // 2] += 1.0
    return replace(layer, weight=weight.to(layer.weight.dtype))
