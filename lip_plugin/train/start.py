"""Begin a run with the parameters that another one ended with: more epochs, other radii, one's own images."""

from __future__ import annotations

import logging
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors
from safetensors.torch import save as save_safetensors
from torch import Tensor

from lip_plugin.errors import CheckpointError, LipPluginError
from lip_plugin.files import TRAINABLE_FILE
from lip_plugin.models import CertifiableModel
from lip_plugin.network.limits import LARGEST_WEIGHTS
from lip_plugin.untrusted import LARGEST_HEADER, PREFIX_BYTES, few, read_regular, tensor_entries
from lip_plugin.zoo import find_model

logger = logging.getLogger(__name__)

_CODES = {"F64": 8, "F32": 4, "F16": 2}
"""Element types by their name in the file, with their bytes. Halves are enough to begin with."""
_HEAD = "head."


def trainable_content(model: CertifiableModel) -> bytes:
    """The file `TRAINABLE_FILE` of a model on the CPU: its state by name."""
    return save_safetensors({name: value.contiguous() for name, value in model.state_dict().items()})


def in_words(place: str) -> str:
    """What a card says of the model that a run began with: its last name alone where it is gone by now."""
    try:
        _, card = find_model(place)
    except LipPluginError:  # a run that was resumed needs it no more, and must not fail at its end
        return Path(place).name
    return f"{card.name}, digest {card.digest[:12]}"


def take_parameters(model: CertifiableModel, place: str) -> None:
    """Give ``model`` the parameters that the model called ``place`` was frozen from; a head of other classes stays new.

    Nothing is believed of them: what is trained from them is bounded and certified like everything else. Raises as
    `lip_plugin.zoo.find_model`, and CheckpointError where there are none, or those of another architecture.
    """
    directory, _ = find_model(place)
    given, own = _read(directory / TRAINABLE_FILE), model.state_dict()
    if set(given) == set(own) and any(given[name].shape != own[name].shape for name in own if name.startswith(_HEAD)):
        logger.warning("%s tells other classes apart: its head is not taken", place)
        given = {name: value for name, value in given.items() if not name.startswith(_HEAD)}
        own = {name: value for name, value in own.items() if not name.startswith(_HEAD)}
    unlike = sorted(name for name in {*given, *own} if _shape(given, name) != _shape(own, name))
    if unlike:
        name = unlike[0]
        raise CheckpointError(
            f"{place} is of another architecture: {few(unlike)} differ, {name!r} being {_shape(given, name)} there and "
            f"{_shape(own, name)} here; give the model settings that it was trained with"
        )
    model.load_state_dict(given, strict=len(given) == len(model.state_dict()))


def _shape(tensors: dict[str, Tensor], name: str) -> tuple[int, ...] | None:
    return tuple(tensors[name].shape) if name in tensors else None


def _read(path: Path) -> dict[str, Tensor]:
    try:
        content = read_regular(path, limit=PREFIX_BYTES + LARGEST_HEADER + 8 * LARGEST_WEIGHTS)
    except OSError as error:
        raise CheckpointError(
            f"cannot begin with {path.parent}: {path.name}, which lip train writes, {error.strerror or error}"
        ) from error
    try:
        tensor_entries(content, f"{path} is not a readable safetensors file", _CODES)
        tensors = load_safetensors(content)
    except (SafetensorError, ValueError, KeyError) as error:
        raise CheckpointError(f"{path} is not a readable safetensors file: {error}") from error
    broken = sorted(name for name, value in tensors.items() if not bool(torch.isfinite(value).all()))
    if broken:
        raise CheckpointError(f"{path}: NaN or infinite entries in {few(broken)}")
    return tensors
