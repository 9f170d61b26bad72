"""Two branches that are added: x + f(x)."""

from __future__ import annotations

from dataclasses import replace

import torch

from lip_plugin.errors import UnsupportedLayerError
from lip_plugin.network import Conv, Dense, Operator, Scale
from lip_plugin.types import Shape
from lip_plugin.wrapping.folding import folded
from lip_plugin.wrapping.traced import Traced


def joined(one: Traced, other: Traced) -> Traced:
    """The sum of two activations of which one was computed from the other."""
    if one.shape != other.shape:
        raise UnsupportedLayerError(
            f"adds activations of shapes {tuple(one.shape)} and {tuple(other.shape)}; only equal shapes are added"
        )
    one, other = one.settle(), other.settle()
    short, long = (one, other) if len(one.steps) <= len(other.steps) else (other, one)
    chain = long.steps[len(short.steps) :]
    if any(a is not b for a, b in zip(short.steps, long.steps, strict=False)):
        raise UnsupportedLayerError(
            "adds two branches of which neither is computed from the other (a shortcut with a layer of its own); only "
            "x + f(x) is bounded: use an identity shortcut, and change channels or stride before the block"
        )
    if not chain:
        return short.scaled(2.0)
    return short.then(*residual(chain, short.settled_shape))


def residual(chain: tuple[Operator, ...], shape: Shape) -> tuple[Operator, ...]:
    """Operators that compute x + chain(x) on activations of ``shape``. Raises UnsupportedLayerError."""
    layers = folded(chain)
    merged = _with_identity(layers[0]) if len(layers) == 1 else None
    if merged is None:
        raise UnsupportedLayerError(
            "adds x + f(x) with a nonlinear or composed f; only one convolution (odd kernel, stride 1, zero padding "
            "that keeps the size) or linear layer merges with the identity: use linear residual blocks, "
            "x + conv(x) followed by an activation (docs/operators.md)"
        )
    return (merged,)


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
