"""The weights file: a safetensors file of exactly the tensors that the card names, and nothing else."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors
from torch import Tensor

from lip_plugin.errors import CheckpointError, ChecksumError
from lip_plugin.network.limits import LARGEST_WEIGHTS
from lip_plugin.untrusted import LARGEST_HEADER, PREFIX_BYTES, few, read_regular, tensor_entries

DTYPES = {"float32": torch.float32, "float64": torch.float64}
_CODES = {"F32": 4, "F64": 8}
"""Element types by their name in the file, with their bytes."""


def read_weights(path: Path, *, sha256: str, params: int) -> dict[str, Tensor]:
    """The tensors of a file whose sha256 is known and that holds ``params`` numbers.

    The file is a stranger's: nothing is allocated that its size and the card do not account for.
    Raises ChecksumError for another sha256, CheckpointError for anything that is no plain safetensors file.
    """
    if params > LARGEST_WEIGHTS:
        raise CheckpointError(f"{path.parent}: the card says {params} parameters; at most {LARGEST_WEIGHTS} are loaded")
    try:
        content = read_regular(path, limit=PREFIX_BYTES + LARGEST_HEADER + params * max(_CODES.values()))
    except OSError as error:
        raise CheckpointError(f"cannot read weights {path}: {error.strerror or error}") from error
    except MemoryError as error:
        raise CheckpointError(f"weights {path} do not fit into memory") from error
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise ChecksumError(f"{path} has sha256 {found}, the card says {sha256}; fetch the model again")
    try:
        tensor_entries(content, f"{path} is not a readable safetensors file", _CODES)
        return load_safetensors(content)
    except (SafetensorError, ValueError, KeyError) as error:
        raise CheckpointError(f"{path} is not a readable safetensors file: {error}") from error


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
