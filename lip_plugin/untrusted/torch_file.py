"""Files of `torch.save` that never run code when read. Imports torch, unlike its neighbours."""

from __future__ import annotations

import pickle
import re
import struct
import warnings
import zipfile
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
        raise CheckpointError(_reason(path, text)) from error


_STARTS = (
    (b"version https://git-lfs", "it is a pointer of Git LFS, not the weights; fetch them, git lfs pull"),
    (b"<", "it is a web page; download the file itself"),
    (b"\x93NUMPY", "it is a NumPy array; expected a file of torch.save or .safetensors"),
)
"""How files begin that people take for weights."""


def _members(path: Path) -> list[str]:
    """Of a zip archive; none where it is no archive, or one whose directory is damaged."""
    try:
        return zipfile.ZipFile(path).namelist() if zipfile.is_zipfile(path) else []
    except (OSError, ValueError, NotImplementedError, zipfile.BadZipFile):  # names that are no text, and the like
        return []


def _reason(path: Path, text: str) -> str:
    """What came and what to do, in one line; torch's own advice is to run what the file holds."""
    try:
        with path.open("rb") as file:
            start = file.read(64)
    except OSError:
        start = b""
    members = _members(path)
    if not start:
        return "it is empty or cut off"
    for beginning, reason in _STARTS:
        if start.lstrip().startswith(beginning):
            return reason
    if any(name.endswith(".npy") for name in members):
        return "it is an archive of NumPy arrays; expected a file of torch.save or .safetensors"
    if "TorchScript" in text or any(name.endswith("/constants.pkl") for name in members):
        return (
            "it is a TorchScript archive, which is a program; save tensors alone, torch.save(model.state_dict(), FILE)"
        )
    if members:
        return (text.splitlines() or ["it is cut off"])[0]
    return "it is no file of torch.save, or a damaged one; save tensors alone, torch.save(model.state_dict(), FILE)"
