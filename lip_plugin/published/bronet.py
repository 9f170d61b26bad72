"""The ICML 2025 implementation (BRONet)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor

from lip_plugin.errors import CheckpointError, ConfigError
from lip_plugin.models import CertifiableModel
from lip_plugin.models.bronet import BRONetConfig, bronet_stem
from lip_plugin.models.layers.reflector import rank_of
from lip_plugin.published.implementation import Implementation
from lip_plugin.published.keys import RENAMED, confirm_shapes, load_renamed, parameter, usable_state, usual_side, whole
from lip_plugin.untrusted import printable

_RENAMED = RENAMED | {f"conv_1.{name}": f"plain.{name}" for name in ("weights", "gamma", "bias", "running_mean")}
_IDENTITIES = ("I_full", "I_low", "identity_half", "residual_identity")
"""Beside those named ``identity``, which every implementation has."""
_BACKBONES = {"bro": (False, False), "brov2": (False, True), "hybridbro": (True, False), "hybridbrov2": (True, True)}
"""Published name -> whether residual convolutions come first, and whether maps grow."""
_ONLY = {
    "use_lln": True,
    "act_name": "MinMax",
    "stem_kernel_size": 5,
    "backbone_centering": True,
    "backbone_quasi_residual": True,
    "backbone_id_random_init": False,
    "backbone_zero_padding": True,
    "dense_quasi_residual": True,
    "dense_id_random_init": False,
    "neck_conv_patch_size_2": 0,
}
"""Settings of the published code that no published configuration changes; another value is another function."""


def _model(config: Mapping[str, Any], state_dict: Mapping[str, Tensor]) -> CertifiableModel:
    """config: the sections ``model`` and ``dataset`` of a published configuration in one, as their code takes it."""
    for key, expected in _ONLY.items():
        if config.get(key, expected) != expected:
            raise ConfigError(f"config {key!r} is {_shown(config[key])}; only {expected!r} is converted")
    state, size = usable_state(_without_identities(state_dict)), whole(config, "input_size")
    classes, width, dense_width = (whole(config, key) for key in ("num_classes", "width", "dense_width"))
    hybrid, grows = _BACKBONES[_chosen(config, "backbone_type", tuple(_BACKBONES))]
    plain_depth, depth = _depths(config, hybrid=hybrid)
    settings = _settings(
        plain_depth=plain_depth,
        depth=depth,
        width=width,
        rank_ratio=_ratio(config, "backbone_weight_rank_ratio", 0.5 if grows else 0.25),
        grows=grows,
        neck=_chosen(config, "neck_conv_type", ("cholesky", "bro", "l2")),
        neck_linear=_chosen(config, "neck_linear_type", ("cholesky", "bro")),
        neck_patch=whole({"neck_conv_patch_size": 4, **config}, "neck_conv_patch_size"),
        dense=_chosen({"dense_type": "bro", **config}, "dense_type", ("cholesky", "bro")),
        dense_width=dense_width,
        dense_depth=whole({"linear_num": 8, **config}, "linear_num"),
        dense_rank_ratio=_ratio(config, "dense_weight_rank_ratio", 0.5),
    )
    input_shape = (parameter(state, "stem.0.weight", 4).shape[1], size, size)
    confirm_shapes(state, _shapes(settings, _last_map(settings, input_shape), classes))
    model = settings.build(input_shape=input_shape, num_classes=classes)
    owned = model.state_dict().keys()
    return load_renamed(model, state, {theirs: ours for theirs, ours in _RENAMED.items() if ours in owned})


_READ = (
    *("depth", "depth_1", "depth_2", "width", "input_size", "num_classes", "backbone_type", "neck_conv_type"),
    *("neck_linear_type", "neck_conv_patch_size", "dense_type", "dense_width", "linear_num"),
    *("backbone_weight_rank_ratio", "dense_weight_rank_ratio", *_ONLY),
)


def _of_file(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Of a published configuration: its sections ``model`` and ``dataset``, as far as they say what the network is."""
    sections = [settings.get(name) for name in ("model", "dataset")]
    if not all(isinstance(section, Mapping) for section in sections):
        raise ConfigError("the configuration beside the weights lacks a section model or dataset")
    both: dict[str, Any] = {key: value for section in sections for key, value in dict(section or {}).items()}
    return {key: both[key] for key in _READ if key in both}


def _settings(**values: Any) -> BRONetConfig:
    """Raises ConfigError for sizes that no model has."""
    try:
        return BRONetConfig(**values)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        where = "".join(f" {part}" for part in problem["loc"])
        raise ConfigError(f"the config asks for no model that can be built:{where}: {problem['msg']}") from error


def _last_map(settings: BRONetConfig, input_shape: tuple[int, int, int]) -> int:
    """Side of the map that the neck takes.

    Raises ConfigError for maps of odd side: the published inverse transform is not told the side and takes it for even.
    """
    size = bronet_stem(input_shape, settings.width).output_size(input_shape[1])
    if size % 2:
        raise ConfigError(f"config 'input_size' gives maps of odd side {size}, which the published code cannot run")
    after = size + 2 * settings.depth * settings.grows
    if after % settings.neck_patch:
        raise ConfigError(f"config 'neck_conv_patch_size' {settings.neck_patch} does not divide the map's side {after}")
    return after


def _shapes(settings: BRONetConfig, side: int, classes: int) -> dict[str, tuple[int | None, ...]]:
    width, dense_width = settings.width, settings.dense_width
    patch = width * settings.neck_patch**2
    inputs = width * (side // settings.neck_patch) ** 2
    rank = rank_of(dense_width, settings.dense_rank_ratio) if settings.dense == "bro" else dense_width
    shapes: dict[str, tuple[int | None, ...]] = {
        "stem.0.weight": (width, None, None, None),
        "conv.weights": (settings.depth, width, rank_of(width, settings.rank_ratio), 3, 3),
        "neck.weight": (dense_width, inputs) if settings.neck_linear == "cholesky" else (inputs, dense_width),
        "linear.weights": (settings.dense_depth, dense_width, rank),
        "head.weight": (classes, dense_width),
    }
    if settings.plain_depth:
        shapes["conv_1.weights"] = (settings.plain_depth, width, width, 3, 3)
    if settings.neck != "l2":
        shapes["neck.kernel"] = (width, patch) if settings.neck == "cholesky" else (patch, width)
    return shapes


def _depths(config: Mapping[str, Any], *, hybrid: bool) -> tuple[int, int]:
    """Residual convolutions, and reflectors; ``depth`` counts both."""
    depth = whole(config, "depth")
    if not hybrid:
        return 0, depth
    first = whole({"depth_1": depth // 2, **config}, "depth_1")
    second = whole({"depth_2": depth - first, **config}, "depth_2")
    if first + second != depth:
        raise ConfigError(f"config 'depth' is {depth}; 'depth_1' {first} and 'depth_2' {second} are another sum")
    return first, second


def _chosen(config: Mapping[str, Any], key: str, known: tuple[str, ...]) -> Any:
    """One of the published words for a kind of layer. Raises ConfigError."""
    if key not in config:
        raise ConfigError(f"the config lacks {key!r}: {', '.join(known)} (lip convert: --set {key}={known[0]})")
    word = config[key].lower() if isinstance(config[key], str) else config[key]
    if word not in known:
        raise ConfigError(f"config {key!r} is {_shown(config[key])}; converted are {', '.join(known)}")
    return word


def _ratio(config: Mapping[str, Any], key: str, default: float) -> float:
    value = config.get(key, default)
    if type(value) not in (int, float) or not 0 <= value <= 1:
        raise ConfigError(f"config {key!r} must be a number from 0 to 1, got {_shown(value)}")
    return float(value)


def _shown(value: object) -> str:
    return printable(repr(value), longest=80)


def _without_identities(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Without those buffers that must be identities, or their first columns; each is verified."""
    kept: dict[str, Tensor] = {}
    for key, value in state_dict.items():
        leaf = key.rsplit(".", 1)[-1]
        if leaf in _IDENTITIES or key == "conv.identity":
            _verify_columns(key, value)
        else:
            kept[key] = value
    return kept


def _verify_columns(key: str, value: Tensor) -> None:
    """(..., C, r), or a kernel (C, r, 3, 3): the first columns of the identity. Raises CheckpointError."""
    expected = torch.zeros_like(value)
    is_kernel = key == "conv.identity" and value.dim() == 4
    centre = expected[:, :, value.shape[2] // 2, value.shape[3] // 2] if is_kernel else expected
    if centre.dim() >= 2:
        centre.diagonal(dim1=-2, dim2=-1).fill_(1.0)
    if centre.dim() < 2 or 0 in value.shape or not torch.equal(value, expected):
        raise CheckpointError(
            f"buffer {printable(key, longest=80)} is not the identity; the reflectors would be another map"
        )


def _sizes(state_dict: Mapping[str, Tensor]) -> dict[str, Any]:
    """All that shapes tell. Whether maps grow they tell only where the neck has a kernel."""
    stem, conv = parameter(state_dict, "stem.0.weight", 4).shape, parameter(state_dict, "conv.weights", 5).shape
    linear, head = parameter(state_dict, "linear.weights", 3).shape, parameter(state_dict, "head.weight", 2).shape
    width, neck = stem[0], parameter(state_dict, "neck.weight", 2).shape
    dense_width = head[1]
    told: dict[str, Any] = {
        "depth": conv[0],
        "width": width,
        "num_classes": head[0],
        "dense_width": dense_width,
        "linear_num": linear[0],
        "dense_type": "cholesky" if linear[1] == linear[2] else "bro",
        "neck_linear_type": "cholesky" if neck[0] == dense_width else "bro",
        "backbone_weight_rank_ratio": _ratio_of(width, conv[2]),
    }
    if told["dense_type"] == "bro":
        told["dense_weight_rank_ratio"] = _ratio_of(dense_width, linear[2])
    hybrid = "conv_1.weights" in state_dict
    if hybrid:
        told["depth_1"], told["depth_2"] = parameter(state_dict, "conv_1.weights", 5).shape[0], conv[0]
        told["depth"] = told["depth_1"] + told["depth_2"]
    positions = (neck[1] if told["neck_linear_type"] == "cholesky" else neck[0]) / width
    return {**told, **_neck_and_maps(state_dict, stem, positions**0.5, conv[0], hybrid=hybrid)}


def _neck_and_maps(
    state_dict: Mapping[str, Tensor], stem: torch.Size, patches: float, depth: int, *, hybrid: bool
) -> dict[str, Any]:
    """``patches`` along a side of the map: with the side of a patch they give the map, and the image."""
    width, channels, kernel = stem[:3]
    prefix = "hybrid" if hybrid else ""
    if "neck.kernel" not in state_dict:
        only = usual_side(channels, lambda side: kernel == bronet_stem((channels, side, side), width).kernel)
        return {"neck_conv_type": "l2", **only}
    shape = parameter(state_dict, "neck.kernel", 2).shape
    patch = (max(shape) / width) ** 0.5
    told: dict[str, Any] = {
        "neck_conv_type": "cholesky" if shape[0] == width else "bro",
        "neck_conv_patch_size": round(patch),
    }
    for name, grown in (("bro", 0), ("brov2", 2 * depth)):

        def fits(side: int, grown: int = grown) -> bool:
            geometry = bronet_stem((channels, side, side), width)
            return kernel == geometry.kernel and geometry.output_size(side) + grown == patches * patch

        found = usual_side(channels, fits)
        if found:
            return {**told, "backbone_type": prefix + name, **found}
    return told


def _ratio_of(width: int, rank: int) -> float:
    """A ratio that gives this rank."""
    return 1.0 if rank == width - 1 else (rank + 0.5) / width


BRONET = Implementation(
    build=_model,
    needed=("stem.0.weight", "conv.weights", "neck.weight", "linear.weights", "head.weight"),
    sizes=_sizes,
    citation=BRONetConfig.citation,
    of_file=_of_file,
)
