"""The weights file: a safetensors file of exactly the tensors that the card names, and nothing else."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors
from torch import Tensor

from lip_plugin.errors import CheckpointError, ChecksumError
from lip_plugin.network.limits import LARGEST_WEIGHTS
from lip_plugin.untrusted import few, parse_document, printable, read_regular

DTYPES = {"float32": torch.float32, "float64": torch.float64}
_CODES = {"F32": 4, "F64": 8}
"""Element types by their name in the file, with their bytes."""
_PREFIX = 8  # little-endian length of the header
_LARGEST_HEADER = 4 * 2**20


@dataclass(frozen=True)
class _Entry:
    name: str
    shape: tuple[int, ...]
    start: int
    end: int


def read_weights(path: Path, *, sha256: str, params: int) -> dict[str, Tensor]:
    """The tensors of a file whose sha256 is known and that holds ``params`` numbers.

    The file is a stranger's: nothing is allocated that its size and the card do not account for.
    Raises ChecksumError for another sha256, CheckpointError for anything that is no plain safetensors file.
    """
    if params > LARGEST_WEIGHTS:
        raise CheckpointError(f"{path.parent}: the card says {params} parameters; at most {LARGEST_WEIGHTS} are loaded")
    try:
        content = read_regular(path, limit=_PREFIX + _LARGEST_HEADER + params * max(_CODES.values()))
    except OSError as error:
        raise CheckpointError(f"cannot read weights {path}: {error.strerror or error}") from error
    except MemoryError as error:
        raise CheckpointError(f"weights {path} do not fit into memory") from error
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise ChecksumError(f"{path} has sha256 {found}, the card says {sha256}; fetch the model again")
    try:
        _check_layout(content, path)
        return load_safetensors(content)
    except (SafetensorError, ValueError, KeyError) as error:
        raise CheckpointError(f"{path} is not a readable safetensors file: {error}") from error


def _check_layout(content: bytes, path: Path) -> None:
    """Header and data fit: every byte belongs to exactly one tensor. Raises ValueError, CheckpointError.

    The library checks most of this too; a header that two readers could read differently is refused here.
    """
    length = int.from_bytes(content[:_PREFIX], "little")
    if len(content) < _PREFIX or length > len(content) - _PREFIX:
        raise ValueError(f"the header would have {length} bytes, the file has {len(content)}")
    if length > _LARGEST_HEADER:
        raise ValueError(f"the header has {length} bytes; expected at most {_LARGEST_HEADER}")
    header = parse_document(content[_PREFIX : _PREFIX + length], f"{path} is not a readable safetensors file: header")
    if not isinstance(header, dict):
        raise ValueError(f"the header is a {type(header).__name__}; expected an object")
    position = 0
    entries = [_entry(name, record) for name, record in header.items() if name != "__metadata__"]
    for entry in sorted(entries, key=lambda entry: (entry.start, entry.end)):
        if entry.start != position:
            raise ValueError(f"tensor {few([entry.name])} starts at byte {entry.start}; expected {position}")
        position = entry.end
    if position != len(content) - _PREFIX - length:
        raise ValueError(f"the tensors end at byte {position} of {len(content) - _PREFIX - length}")


def _entry(name: str, record: Any) -> _Entry:
    if not isinstance(record, dict) or set(record) != {"dtype", "shape", "data_offsets"}:
        raise ValueError(f"tensor {few([name])} needs exactly dtype, shape and data_offsets")
    code, shape, offsets = record["dtype"], record["shape"], record["data_offsets"]
    if not isinstance(code, str) or code not in _CODES:
        raise ValueError(f"tensor {few([name])} has dtype {printable(repr(code), longest=40)}; expected F32 or F64")
    if not _are_sizes(shape) or not _are_sizes(offsets) or len(offsets) != 2:
        raise ValueError(f"tensor {few([name])} has a shape or offsets that are no sizes")
    if offsets[1] - offsets[0] != math.prod(shape) * _CODES[code]:
        raise ValueError(f"tensor {few([name])} has offsets {offsets} for shape {shape[:8]} of {code}")
    return _Entry(name, tuple(shape), offsets[0], offsets[1])


def _are_sizes(value: Any) -> bool:
    return isinstance(value, list) and all(type(size) is int and size >= 0 for size in value)


def check_tensors(records: list[Mapping[str, Any]], tensors: Mapping[str, Tensor], dtype_name: str) -> None:
    """Every tensor is named once, has the card's dtype and finite entries. Raises CheckpointError."""
    dtype = DTYPES.get(dtype_name)
    if dtype is None:
        raise CheckpointError(f"the card's dtype is {dtype_name!r}; expected one of {', '.join(DTYPES)}")
    named = [name for record in records for name in record["tensors"].values()]
    if set(named) != set(tensors):
        raise CheckpointError(
            f"card and weights do not fit: only in the card: {few(sorted(set(named) - set(tensors)))}, "
            f"only in the weights: {few(sorted(set(tensors) - set(named)))}"
        )
    seen: set[str] = set()
    twice = [name for name in named if name in seen or seen.add(name)]
    if twice:
        raise CheckpointError(f"the card uses tensors more than once: {few(twice)}")
    wrong = sorted(name for name, value in tensors.items() if value.dtype != dtype)
    if wrong:
        raise CheckpointError(f"tensors are not {dtype_name} as the card says: {few(wrong)}")
    broken = sorted(name for name, value in tensors.items() if not bool(torch.isfinite(value).all()))
    if broken:
        raise CheckpointError(f"tensors have NaN or infinite entries: {few(broken)}; no such network is certified")
