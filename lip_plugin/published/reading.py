"""A checkpoint file of somebody else: safetensors, or what torch.save wrote. No code of it runs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file

from lip_plugin.errors import CheckpointError
from lip_plugin.untrusted import few, printable, read_regular
from lip_plugin.untrusted.settings import LARGEST_SETTINGS, parse_settings
from lip_plugin.untrusted.torch_file import read_torch_file


def read_checkpoint(path: Path) -> object:
    """The state dict, or whatever containers a training script put around it. Raises CheckpointError."""
    if not path.is_file():
        raise CheckpointError(f"{path} is not a file; give a checkpoint, .safetensors or of torch.save")
    try:
        return load_file(path) if path.suffix == ".safetensors" else read_torch_file(path)
    except (CheckpointError, SafetensorError, OSError, ValueError) as error:
        reason = printable((str(error).splitlines() or ["it is empty"])[0], longest=400)
        raise CheckpointError(f"cannot read {path}: {reason}") from error


_WEIGHTS = (".safetensors", ".pth", ".pt", ".bin", ".ckpt")
_SETTINGS = (".yaml", ".yml")


def published_folder(folder: Path) -> tuple[Path, Mapping[str, Any]]:
    """The weights and the settings of a folder as a model page has it: one checkpoint and one YAML file, others aside.

    No code runs, and links are followed: caches are made of them. Raises CheckpointError, ConfigError.
    """
    try:
        files = sorted(entry for entry in folder.iterdir() if entry.is_file())
    except OSError as error:
        raise CheckpointError(f"cannot read {folder}: {error.strerror}") from error
    weights = [file for file in files if file.suffix in _WEIGHTS]
    settings = [file for file in files if file.suffix in _SETTINGS]
    for found, what in ((weights, f"checkpoint ({', '.join(_WEIGHTS)})"), (settings, "configuration (.yaml)")):
        if len(found) != 1:
            names = few([file.name for file in found]) if found else "none"
            raise CheckpointError(f"{folder} must hold one {what}, found {names}; give the checkpoint file itself")
    name = settings[0].name
    try:
        text = read_regular(settings[0], limit=LARGEST_SETTINGS, links=True).decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CheckpointError(f"cannot read {name}: {error}") from error
    values = parse_settings(text, printable(name, longest=80))
    if not isinstance(values, Mapping):
        raise CheckpointError(f"{printable(name, longest=80)} is not a YAML mapping of settings")
    return weights[0], values
