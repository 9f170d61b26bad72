"""The digest: one sha256 over everything that decides what a plain network computes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

import torch
from torch import Tensor

from lip_plugin.network.operators.base import Operator
from lip_plugin.types import Shape

_SCHEMA = "lip-network/1"


def network_digest(operators: Sequence[Operator], input_shape: Shape, dtype: torch.dtype) -> str:
    """Hex sha256 over kinds, settings, tensor names, shapes, bytes, the input shape and the dtype."""
    digest = hashlib.sha256()
    header = {
        "schema": _SCHEMA,
        "input_shape": list(input_shape),
        "dtype": str(dtype),
        "operators": [
            {
                "kind": operator.kind,
                "settings": operator.settings(),
                "tensors": {name: list(value.shape) for name, value in operator.tensors().items()},
            }
            for operator in operators
        ],
    }
    digest.update(json.dumps(header, sort_keys=True, separators=(",", ":")).encode())
    for operator in operators:
        for _, value in sorted(operator.tensors().items()):
            digest.update(tensor_bytes(value))
    return digest.hexdigest()


def tensor_bytes(value: Tensor) -> memoryview:
    """The entries in row-major order as little-endian bytes."""
    dense = value.detach().cpu().resolve_neg().contiguous()
    flat = dense.as_strided((dense.numel(),), (1,)).view(torch.uint8)  # a single entry may keep any stride
    return memoryview(flat.numpy())  # pyright: ignore[reportArgumentType]  numpy arrays are buffers
