"""The NeurIPS 2023 implementation (gloro snapshot ``hu23``)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from lip_plugin.errors import CheckpointError, ConfigError
from lip_plugin.models import CertifiableModel, LiResNet
from lip_plugin.published.keys import load_renamed, parameter, usable_state, whole


def hu23_model(config: Mapping[str, Any], state_dict: Mapping[str, Tensor]) -> CertifiableModel:
    """config: arch, depth, width, input_size, num_classes. Blocks are stacked into one tensor per kind."""
    if config.get("arch", "linear_res") != "linear_res":
        raise ConfigError(f"config 'arch' is {config['arch']!r}; only 'linear_res' is supported")
    state, depth = usable_state(state_dict), whole(config, "depth")
    size = whole(config, "input_size")
    linear = parameter(state, "neck.3.weight", 2)
    model = LiResNet(
        input_shape=(parameter(state, "stem.0.weight", 4).shape[1], size, size),
        num_classes=whole(config, "num_classes"),
        depth=depth,
        width=whole(config, "width"),
        dense_width=linear.shape[0],
    )
    renamed = {
        "stem.0.weight": "stem.conv.weight",
        "stem.0.bias": "stem.conv.bias",
        "neck.0.weight": "neck.conv.weight",
        "neck.0.bias": "neck.conv.bias",
        "neck.3.weight": "neck.linear.weight",
        "neck.3.bias": "neck.linear.bias",
        "head.weight": "head.weight",
        "head.bias": "head.bias",
        "weights": "backbone.weights",
        "gamma": "backbone.gamma",
        "bias": "backbone.bias",
    }
    return load_renamed(model, _stacked_blocks(state, depth), renamed)


def _stacked_blocks(state: Mapping[str, Tensor], depth: int) -> dict[str, Tensor]:
    """``backbone.{0,2,...}.{weight,affine,bias}`` as stacks ``weights``, ``gamma``, ``bias``; the rest as it is."""
    rest = dict(state)
    stacks: dict[str, Tensor] = {}
    for ours, theirs in (("weights", "weight"), ("gamma", "affine"), ("bias", "bias")):
        keys = [f"backbone.{2 * block}.{theirs}" for block in range(depth)]
        missing = [key for key in keys if key not in rest]
        if missing:
            raise CheckpointError(f"the state dict lacks {missing}")
        blocks = [rest.pop(key) for key in keys]
        if len({block.shape for block in blocks}) != 1:
            raise CheckpointError(
                f"blocks differ in the shape of {theirs!r}: {[tuple(block.shape) for block in blocks]}"
            )
        stacks[ours] = torch.stack(blocks)
    return {**rest, **stacks}
