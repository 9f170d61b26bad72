"""The file of a finished work unit: tensors, a few words about them in JSON, and a SHA-256 of both. No code."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors
from safetensors.torch import save as dump_safetensors
from torch import Tensor

from lip_plugin.errors import CheckpointError
from lip_plugin.untrusted import parse_document, read_regular, tensor_entries

_CODES = {"F32": 4, "F64": 8, "I64": 8, "U8": 1, "BOOL": 1}
_ABOUT = "about"
_DIGEST_BYTES = 32


def dump_unit(about: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> bytes:
    """The content of the file; what `load_unit` gives back."""
    words = torch.frombuffer(bytearray(json.dumps(about, allow_nan=False).encode()), dtype=torch.uint8)
    body = dump_safetensors({_ABOUT: words, **{name: value.cpu().contiguous() for name, value in tensors.items()}})
    return body + hashlib.sha256(body).digest()


def load_unit(path: Path, *, limit: int) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """What the file says about its tensors, and these. Raises CheckpointError with the reason, OSError."""
    content = read_regular(path, limit=limit)
    body = content[:-_DIGEST_BYTES]
    if hashlib.sha256(body).digest() != content[-_DIGEST_BYTES:]:
        raise CheckpointError("it is cut off or changed: its SHA-256 is another one")
    try:
        tensor_entries(body, "it is not readable", _CODES)
        tensors = load_safetensors(body)
        about = parse_document(bytes(tensors.pop(_ABOUT).tolist()), "what it says of itself")
    except (SafetensorError, ValueError, KeyError) as error:
        raise CheckpointError(f"it is not readable: {error}") from error
    if not isinstance(about, dict):
        raise CheckpointError("it says nothing of itself")
    return about, tensors
