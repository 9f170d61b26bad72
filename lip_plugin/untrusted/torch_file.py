"""Files of `torch.save` that never run code when read. Imports torch, unlike its neighbours."""

from __future__ import annotations

import pickle
import re
import struct
import warnings
from pathlib import Path

import torch

from lip_plugin.errors import CheckpointError

# What zip, pickle and torch raise on damaged files, found by changing bytes at random.
_UNREADABLE = (
    OSError,
    RuntimeError,
    pickle.UnpicklingError,
    EOFError,
    LookupError,
    ValueError,
    TypeError,
    AssertionError,
    AttributeError,
    struct.error,
)
_FOREIGN = re.compile(r"GLOBAL (\S+)")


def read_torch_file(path: Path) -> object:
    """What a file holds, on the CPU: tensors and plain containers. Raises CheckpointError with the reason alone."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns of foreign pickles before it refuses them
            return torch.load(path, weights_only=True, map_location="cpu")
    except _UNREADABLE as error:
        text = str(error)
        foreign = _FOREIGN.search(text)
        if foreign is not None:
            raise CheckpointError(
                f"it holds objects of {foreign[1]} beside tensors, which could run code; "
                "save tensors alone, torch.save(model.state_dict(), FILE)"
            ) from error
        raise CheckpointError((text.splitlines() or ["it is empty or cut off"])[0]) from error
