"""A checkpoint file of somebody else: safetensors, or what torch.save wrote. No code of it runs."""

from __future__ import annotations

from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file

from lip_plugin.errors import CheckpointError
from lip_plugin.untrusted import printable
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
