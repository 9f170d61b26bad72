"""The ICLR 2024 implementation (LiResNet++)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from lip_plugin.models import CertifiableModel, LiResNetPP
from lip_plugin.models.layers.stem import stem_geometry
from lip_plugin.models.liresnet_pp import LiResNetPPConfig
from lip_plugin.published.implementation import Implementation
from lip_plugin.published.keys import RENAMED, confirm_shapes, load_renamed, parameter, usable_state, usual_side, whole

_PATCH = 4


def _model(config: Mapping[str, Any], state_dict: Mapping[str, Tensor]) -> CertifiableModel:
    """config: depth, width, input_size, num_classes, dense_width, dense_depth."""
    state, size = usable_state(state_dict), whole(config, "input_size")
    classes, depth, width = (whole(config, key) for key in ("num_classes", "depth", "width"))
    dense_width, dense_depth = whole(config, "dense_width"), whole(config, "dense_depth")
    input_shape = (parameter(state, "stem.0.weight", 4).shape[1], size, size)
    side = -(-stem_geometry(input_shape, width, stride_4_at_64=False).output_size(size) // _PATCH)
    shapes = {
        "stem.0.weight": (width, None, None, None),
        "conv.weights": (depth, width, width, None, None),
        "neck.kernel": (width, width * _PATCH**2),
        "neck.weight": (dense_width, width * side**2),
        "linear.weights": (dense_depth, dense_width, dense_width),
        "head.weight": (classes, dense_width),
    }
    confirm_shapes(state, shapes)
    model = LiResNetPP(
        input_shape=input_shape,
        num_classes=classes,
        depth=depth,
        width=width,
        dense_width=dense_width,
        dense_depth=dense_depth,
        neck_patch=_PATCH,
    )
    return load_renamed(model, state, RENAMED)


def _sizes(state_dict: Mapping[str, Tensor]) -> dict[str, int]:
    stem, neck = parameter(state_dict, "stem.0.weight", 4).shape, parameter(state_dict, "neck.weight", 2).shape
    width, channels, kernel = stem[:3]

    def fits(side: int) -> bool:
        geometry = stem_geometry((channels, side, side), width, stride_4_at_64=False)
        return kernel == geometry.kernel and neck[1] == width * (-(-geometry.output_size(side) // _PATCH)) ** 2

    return {
        "depth": parameter(state_dict, "conv.weights", 5).shape[0],
        "width": width,
        "num_classes": parameter(state_dict, "head.weight", 2).shape[0],
        "dense_width": neck[0],
        "dense_depth": parameter(state_dict, "linear.weights", 3).shape[0],
        **usual_side(channels, fits),
    }


LIRESNET_PP = Implementation(
    build=_model,
    needed=("stem.0.weight", "conv.weights", "neck.weight", "linear.weights", "head.weight"),
    sizes=_sizes,
    citation=LiResNetPPConfig.citation,
)
