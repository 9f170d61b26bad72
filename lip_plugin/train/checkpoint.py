"""Checkpoints that are either whole or absent, and never run code when read."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, cast

import torch

from lip_plugin.errors import CheckpointError
from lip_plugin.files import partial_name
from lip_plugin.untrusted.torch_file import read_torch_file

CHECKPOINT_FILE = "checkpoint.pt"


def save_checkpoint(directory: Path, state: dict[str, Any]) -> None:
    """Replace the checkpoint atomically: a crash or a full disk leaves the last good one."""
    partial = directory / partial_name(CHECKPOINT_FILE)
    try:
        with partial.open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, directory / CHECKPOINT_FILE)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise CheckpointError(f"cannot write a checkpoint in {directory}: {error.strerror or error}") from error


def load_checkpoint(directory: Path) -> dict[str, Any]:
    """Raises CheckpointError where there is none or it cannot be read."""
    path = directory / CHECKPOINT_FILE
    if not path.is_file():
        raise CheckpointError(f"nothing to resume: {path} does not exist")
    try:
        state = read_torch_file(path)
    except CheckpointError as error:
        raise CheckpointError(f"{path} is not a checkpoint of lip train: {error}") from error
    if not isinstance(state, dict):
        raise CheckpointError(f"{path} is not a checkpoint of lip train: it holds a {type(state).__name__}")
    return cast("dict[str, Any]", state)
