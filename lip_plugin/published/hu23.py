"""The NeurIPS 2023 implementation (gloro snapshot ``hu23``)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from lip_plugin.errors import CheckpointError, ConfigError
from lip_plugin.models import CertifiableModel, LiResNet
from lip_plugin.models.layers.neck import PlainNeck
from lip_plugin.models.layers.stem import stem_geometry
from lip_plugin.models.liresnet import LiResNetConfig
from lip_plugin.published.implementation import Implementation
from lip_plugin.published.keys import confirm_shapes, load_renamed, parameter, usable_state, usual_side, whole
from lip_plugin.untrusted import few, printable

_RENAMED = {
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
_BLOCK = {"weights": "weight", "gamma": "affine", "bias": "bias"}
"""Our stack -> the published tensor of one block."""
_BLOCK_KEY = re.compile(r"backbone\.\d+\.weight")


def _model(config: Mapping[str, Any], state_dict: Mapping[str, Tensor]) -> CertifiableModel:
    """config: arch, depth, width, input_size, num_classes. Blocks are stacked into one tensor per kind."""
    if config.get("arch", "linear_res") != "linear_res":
        raise ConfigError(f"config 'arch' is {printable(repr(config['arch']), longest=80)}; expected 'linear_res'")
    state, size = usable_state(state_dict), whole(config, "input_size")
    classes, depth, width = (whole(config, key) for key in ("num_classes", "depth", "width"))
    dense_width = parameter(state, "neck.3.weight", 2).shape[0]
    input_shape = (parameter(state, "stem.0.weight", 4).shape[1], size, size)
    side = stem_geometry(input_shape, width, stride_4_at_64=True).output_size(size) // PlainNeck.patch
    blocks = _stacked_blocks(state, depth)
    shapes = {
        "stem.0.weight": (width, None, None, None),
        "weights": (depth, width, width, None, None),
        "neck.0.weight": (2 * width, width, None, None),
        "neck.3.weight": (dense_width, 2 * width * side**2),
        "head.weight": (classes, dense_width),
    }
    confirm_shapes(blocks, shapes)
    model = LiResNet(input_shape=input_shape, num_classes=classes, depth=depth, width=width, dense_width=dense_width)
    return load_renamed(model, blocks, _RENAMED)


def _sizes(state_dict: Mapping[str, Tensor]) -> dict[str, int]:
    stem, dense = parameter(state_dict, "stem.0.weight", 4).shape, parameter(state_dict, "neck.3.weight", 2).shape
    width, channels, kernel = stem[:3]

    def fits(side: int) -> bool:
        geometry = stem_geometry((channels, side, side), width, stride_4_at_64=True)
        inputs = 2 * width * (geometry.output_size(side) // PlainNeck.patch) ** 2
        return kernel == geometry.kernel and dense[1] == inputs

    return {
        "depth": sum(bool(_BLOCK_KEY.fullmatch(key)) for key in state_dict),
        "width": width,
        "num_classes": parameter(state_dict, "head.weight", 2).shape[0],
        **usual_side(channels, fits),
    }


def _stacked_blocks(state: Mapping[str, Tensor], depth: int) -> dict[str, Tensor]:
    """``backbone.{0,2,...}.{weight,affine,bias}`` as stacks ``weights``, ``gamma``, ``bias``; the rest as it is."""
    rest = dict(state)
    stacks: dict[str, Tensor] = {}
    clash = sorted(set(_BLOCK) & set(rest))
    if clash:
        raise CheckpointError(f"the state dict has unexpected keys ({few(clash)})")
    for ours, theirs in _BLOCK.items():
        keys = [f"backbone.{2 * block}.{theirs}" for block in range(depth)]
        missing = [key for key in keys if key not in rest]
        if missing:
            raise CheckpointError(f"the state dict lacks {few(missing)}")
        blocks = [rest.pop(key) for key in keys]
        if len({block.shape for block in blocks}) != 1:
            raise CheckpointError(
                f"blocks differ in the shape of {theirs!r}: {[tuple(block.shape) for block in blocks[:4]]}"
            )
        stacks[ours] = torch.stack(blocks)
    return {**rest, **stacks}


HU23 = Implementation(
    build=_model,
    needed=("stem.0.weight", "backbone.0.weight", "neck.3.weight", "head.weight"),
    sizes=_sizes,
    citation=LiResNetConfig.citation,
)
