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


def is_same(one: Operator, other: Operator) -> bool:
    """Whether both put the same into a digest: told by comparing, which is quicker than hashing. In one place."""
    ours, theirs = one.tensors(), other.tensors()
    alike = type(one) is type(other) and one.settings() == other.settings() and list(ours) == list(theirs)
    return alike and all(_have_same_bits(value, theirs[name]) for name, value in ours.items())


def _have_same_bits(one: Tensor, other: Tensor) -> bool:
    """0 and -0 differ, and a NaN equals itself."""
    if (one.shape, one.dtype) != (other.shape, other.dtype):
        return False
    ours, theirs = (_flat(value).view(torch.uint8) for value in (one, other))
    whole = len(ours) // 8 * 8
    wide = torch.equal(ours[:whole].view(torch.int64), theirs[:whole].view(torch.int64))
    return wide and torch.equal(ours[whole:], theirs[whole:])


def tensor_bytes(value: Tensor) -> memoryview:
    """The entries in row-major order as little-endian bytes."""
    flat = _flat(value.cpu()).view(torch.uint8)
    return memoryview(flat.numpy())  # pyright: ignore[reportArgumentType]  numpy arrays are buffers


def _flat(value: Tensor) -> Tensor:
    dense = value.detach().resolve_neg().contiguous()
    return dense.as_strided((dense.numel(),), (1,))  # a single entry may keep any stride
