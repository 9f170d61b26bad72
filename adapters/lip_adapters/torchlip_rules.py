"""Rules for the layers of deel-torchlip (1.0) that cannot be read from their forward; importing this registers them.

Most need none: the weights of its Spectral and Frobenius layers are parametrisations, frozen at their value in eval
mode, and its pools are torch's own times a number.
"""

from __future__ import annotations

import copy
from importlib import import_module
from typing import Any

import torch

from lip_adapters._layer_rules import centred, house_holder, kinds, per_channel, require_channels
from lip_plugin.network import Conv, Gather, MinMax, Reshape, Scale
from lip_plugin.wrapping.registry import rule
from lip_plugin.wrapping.traced import Traced

torchlip: Any = import_module("deel.torchlip")


@rule(*kinds(torchlip, "MaxMin"))
def _max_min(module: Any, input: Traced) -> Traced:
    """(relu(x), relu(-x)) of norm 1: the maxima and minima of pairs (x, 0), the minima times -1."""
    require_channels(input, module._dim, "MaxMin")
    shape, dtype, device = input.features, input.session.dtype, input.session.device
    count = shape[0]
    beside_zeros = torch.tensor([1.0, 0.0], dtype=dtype, device=device).repeat(count).view(-1, 1, 1, 1)
    pairs = Gather((*range(0, 2 * count, 2), *range(1, 2 * count, 2)))
    signs = torch.ones(2 * count, dtype=dtype, device=device)
    signs[count:] = -1.0
    as_map = input.then(Reshape((count, 1, 1))) if len(shape) == 1 else input
    done = as_map.then(Conv(beside_zeros, groups=count), pairs, MinMax(), Scale(signs))
    done = done.then(Reshape((2 * count,))) if len(shape) == 1 else done
    return done if module._coefficient_lip == 1 else done.scaled(float(module._coefficient_lip))


@rule(*kinds(torchlip, "HouseHolder"))
def _house_holder(module: Any, input: Traced, axis: int = 1) -> Traced:
    require_channels(input, axis, "HouseHolder")
    return house_holder(input, module.theta)


@rule(*kinds(torchlip, "LayerCentering"))
def _layer_centering(module: Any, x: Traced) -> Traced:
    out = centred(x, module.dim)
    return out if module.bias is None else out.shifted(per_channel(x, module.bias))


@rule(*kinds(torchlip, "ScaleBiasLayer"))
def _scale_bias(module: Any, x: Traced) -> Traced:
    out = x.scaled(module.scalar)
    return out if module.bias is None else out.shifted(per_channel(x, module.bias))


@rule(*kinds(torchlip, "BatchLipNorm", "BatchCentering"))
def _batch_norm(module: Any, x: Traced) -> Traced:
    """By the running statistics, through the library's own export; on a twin, since that rewrites the sums."""
    twin: Any = copy.copy(module)
    twin._buffers = {name: None if held is None else held.clone() for name, held in module._buffers.items()}
    return _scale_bias(twin.vanilla_export(), x)
