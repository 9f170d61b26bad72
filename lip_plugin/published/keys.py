"""Strict bookkeeping over the keys of a published state dict."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from lip_plugin.errors import CheckpointError, ConfigError
from lip_plugin.models import CertifiableModel
from lip_plugin.untrusted import few, printable

_DISCARDED = ("init_x", "init_layer", "eval_weight")
"""Iteration vectors and cached evaluation weights: stored state that a certificate must not trust."""
_USUAL_SIDES = {1: (28,), 3: (32, 64, 224)}
"""Channels -> sides of the data sets that published networks are trained on."""
RENAMED = {
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
"""Published keys of LiResNet++, which BRONet keeps -> ours."""
_LARGEST_SIZE = 2**16  # far above every depth, width, image and number of classes


def usable_state(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The parameters: identity buffers verified and removed, cached state removed."""
    kept: dict[str, Tensor] = {}
    for key, value in state_dict.items():
        leaf = key.rsplit(".", 1)[-1]
        if leaf == "identity":
            _verify_identity(key, value)
        elif leaf not in _DISCARDED:
            kept[key] = value
    return kept


def _verify_identity(key: str, value: Tensor) -> None:
    """(..., W, W, 3, 3) delta kernels or (D, D): exactly the identity. Raises CheckpointError."""
    expected = torch.zeros_like(value)
    centre = expected[..., value.shape[-2] // 2, value.shape[-1] // 2] if value.dim() >= 4 else expected
    square = centre.dim() >= 2 and centre.shape[-1] == centre.shape[-2] > 0
    if square:
        centre.diagonal(dim1=-2, dim2=-1).fill_(1.0)
    if not square or not torch.equal(value, expected):
        raise CheckpointError(
            f"buffer {printable(key, longest=80)} is not the identity; the residual block would be another map"
        )


def confirm_shapes(state: Mapping[str, Tensor], expected: Mapping[str, tuple[int | None, ...]]) -> None:
    """Raise CheckpointError unless these tensors have the sizes that a config implies; None stands for any.

    Done before the model is built: a config alone could ask for terabytes, weights of that size cannot be there.
    """
    for key, shape in expected.items():
        found = parameter(state, key, len(shape)).shape
        if any(size is not None and size != own for size, own in zip(shape, found, strict=True)):
            wanted = ", ".join("any" if size is None else str(size) for size in shape)
            raise CheckpointError(f"{key} has shape {tuple(found)}; the config implies ({wanted})")


def load_renamed(model: CertifiableModel, state: Mapping[str, Tensor], renamed: Mapping[str, str]) -> CertifiableModel:
    """Load ``state`` under our names (published name -> ours), every key on both sides exactly once."""
    wanted = dict(model.state_dict())
    unknown, missing = sorted(set(state) - set(renamed)), sorted(set(renamed) - set(state))
    if unknown or missing:
        raise CheckpointError(f"the state dict has unexpected keys ({few(unknown)}) and lacks {few(missing)}")
    fitted = {ours: _fitting(published, state[published], wanted[ours]) for published, ours in renamed.items()}
    dtype = next(iter(fitted.values())).dtype
    untouched = {key: value.to(dtype) for key, value in wanted.items() if key not in fitted}
    model.to(dtype).load_state_dict({**untouched, **fitted})
    return model


def _fitting(key: str, value: Tensor, target: Tensor) -> Tensor:
    if value.shape != target.shape:
        raise CheckpointError(f"{key} has shape {tuple(value.shape)}; the config implies {tuple(target.shape)}")
    if not bool(torch.isfinite(value).all()):
        raise CheckpointError(f"{key} has NaN or infinite entries; nothing can be certified")
    return value


def whole(config: Mapping[str, Any], key: str) -> int:
    """A positive int of the config. Raises ConfigError."""
    if key not in config:
        raise ConfigError(
            f"the config lacks {key!r}, a positive integer that no shape tells (lip convert: --set {key}=N)"
        )
    value = config[key]
    if type(value) is not int or value < 1:
        raise ConfigError(f"config {key!r} must be a positive integer, got {printable(repr(value), longest=80)}")
    if value > _LARGEST_SIZE:
        raise ConfigError(f"config {key!r} is beyond {_LARGEST_SIZE}; no published model is that large")
    return value


def parameter(state: Mapping[str, Tensor], key: str, dimensions: int) -> Tensor:
    """A tensor that sizes are read from. Raises CheckpointError."""
    if key not in state:
        raise CheckpointError(f"the state dict lacks {key!r}")
    if state[key].dim() != dimensions or 0 in state[key].shape:
        raise CheckpointError(f"{key} has shape {tuple(state[key].shape)}; expected {dimensions} positive sizes")
    return state[key]


def usual_side(channels: int, fits: Callable[[int], bool]) -> dict[str, int]:
    """``input_size`` where one usual side of such images fits the shapes: strides and pooling hide it. Else nothing."""
    sides = [side for side in _USUAL_SIDES.get(channels, ()) if fits(side)]
    return {"input_size": sides[0]} if len(sides) == 1 else {}
