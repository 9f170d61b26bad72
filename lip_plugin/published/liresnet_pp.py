"""The ICLR 2024 implementation (LiResNet++)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from lip_plugin.models import CertifiableModel, LiResNetPP
from lip_plugin.published.keys import load_renamed, parameter, usable_state, whole

_RENAMED = {
    "stem.0.weight": "stem.conv.weight",
    "stem.0.bias": "stem.conv.bias",
    "conv.weights": "backbone.weights",
    "conv.gamma": "backbone.gamma",
    "conv.bias": "backbone.bias",
    "conv.running_mean": "backbone.running_mean",
    "neck.kernel": "neck.kernel",
    "neck.weight": "neck.weight",
    "neck.bias": "neck.bias",
    "linear.weights": "dense.weights",
    "linear.gamma": "dense.gamma",
    "linear.bias": "dense.bias",
    "head.weight": "head.weight",
    "head.bias": "head.bias",
}


def liresnet_pp_model(config: Mapping[str, Any], state_dict: Mapping[str, Tensor]) -> CertifiableModel:
    """config: depth, width, input_size, num_classes, dense_width, dense_depth."""
    state, size = usable_state(state_dict), whole(config, "input_size")
    model = LiResNetPP(
        input_shape=(parameter(state, "stem.0.weight", 4).shape[1], size, size),
        num_classes=whole(config, "num_classes"),
        depth=whole(config, "depth"),
        width=whole(config, "width"),
        dense_width=whole(config, "dense_width"),
        dense_depth=whole(config, "dense_depth"),
    )
    return load_renamed(model, state, _RENAMED)
