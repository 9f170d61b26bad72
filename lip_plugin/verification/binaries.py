"""Files of a bundle that `torch.save` wrote: the weights for RobustBench, and adversarial images where asked for."""

from __future__ import annotations

import io
import pickle
import pickletools
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lip_plugin.data.archives import UNREADABLE, require_lone_entries
from lip_plugin.errors import LipPluginError
from lip_plugin.untrusted import few, read_regular
from lip_plugin.verification.checks import Check

_BY_STACK = frozenset({"STACK_GLOBAL", "INST", "OBJ", "EXT1", "EXT2", "EXT4"})
_OF_TORCH = {"byteorder", "version", ".format_version", ".storage_alignment", ".data/serialization_id"}
"""Entries beside the tensors, of any release."""
_LONGEST = 64  # bytes of one of them: numbers
_ROOM = 2**20
"""For names and headers of a zip file beside its tensors."""

# What the readers raise on damaged files; the unpickler checks little before it indexes and asserts.
_DAMAGED = (*UNREADABLE, LipPluginError, pickle.UnpicklingError, AssertionError)


def saved_tensors_check(directory: Path, file: str, what: str, expected: bytes) -> Check:
    """Byte for byte what is written for this network, or, by another release of torch, the same tensors."""
    try:
        content = read_regular(directory / file, limit=len(expected) + _ROOM)
        names = _names(expected) | _OF_TORCH
        known = _globals(expected)
        ours = _loaded(expected, names, known)
        difference = "" if content == expected else _difference(_loaded(content, names, known), ours)
    except _DAMAGED as error:
        return Check(file, what, "as written", error)
    return Check(file, what, "as written", difference or "the same", agrees=not difference)


def _loaded(content: bytes, names: set[str], known: set[object]) -> object:
    """Tensors only: of a zip file whose entries are stored as they are, and that has and names no more than ours does.

    So nothing unpacks to more than it is, and no other constructor is called; `weights_only` allows some that allocate.
    """
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        require_lone_entries(content, archive)
        if any(entry.file_size > _LONGEST for entry in archive.infolist() if _inside(entry.filename) in _OF_TORCH):
            raise ValueError("words beside the tensors")
    if not _names(content) <= names:
        raise ValueError(f"entries that our file does not have: {few(sorted(_names(content) - names))}")
    if not _globals(content) <= known:
        raise ValueError("constructors that our file does not have")
    return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)


def _names(content: bytes) -> set[str]:
    """Of the entries, but for the folder that all are in."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return set(map(_inside, archive.namelist()))


def _inside(name: str) -> str:
    return name.partition("/")[2]


def _globals(content: bytes) -> set[object]:
    """What the pickles inside name."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        pickles = [archive.read(name) for name in archive.namelist() if name.endswith(".pkl")]
    operations = [operation for one in pickles for operation in _operations(one)]
    if any(code.name in _BY_STACK for code, _, _ in operations):
        raise ValueError("a pickle that names constructors in another way than ours")
    return {argument for code, argument, _ in operations if code.name == "GLOBAL"}


def _operations(content: bytes) -> list[tuple[pickletools.OpcodeInfo, Any, int | None]]:
    """Of a pickle with nothing behind it."""
    found = list(pickletools.genops(content))
    if found[-1][2] != len(content) - 1:
        raise ValueError("bytes behind a pickle")
    return found


def _difference(found: object, expected: object) -> str:
    """In words; empty where there is none."""
    if isinstance(expected, Tensor):
        return "" if isinstance(found, Tensor) and _equal(found, expected) else "other values"
    if not isinstance(found, dict) or not isinstance(expected, dict) or list(found) != list(expected):
        return "other names"
    for name, wanted in expected.items():
        if not isinstance(found[name], Tensor) or not _equal(found[name], wanted):
            return f"other values in {name}"
    return ""


def _equal(found: Tensor, expected: Tensor) -> bool:
    """With nothing beside the entries in what is stored."""
    same_size = found.untyped_storage().nbytes() == expected.untyped_storage().nbytes()
    return found.dtype == expected.dtype and same_size and torch.equal(found, expected)
