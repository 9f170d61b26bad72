"""The layout of a safetensors file: every byte belongs to exactly one tensor, and every reader reads the same."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lip_plugin.untrusted.document import parse_document
from lip_plugin.untrusted.text import few, printable

PREFIX_BYTES = 8  # little-endian length of the header
LARGEST_HEADER = 4 * 2**20
_USUAL = {"format": "pt"}
"""Metadata that other writers add."""


@dataclass(frozen=True)
class TensorEntry:
    """One tensor of the header; ``code`` is its element type, ``start`` and ``end`` its bytes after the header."""

    name: str
    code: str
    shape: tuple[int, ...]
    start: int
    end: int


def tensor_entries(
    content: bytes, what: str, codes: Mapping[str, int], *, size: int | None = None
) -> dict[str, TensorEntry]:
    """Name -> entry of a whole file, after a check that header and data fit; ``codes`` are the types with their bytes.

    Of a file of ``size`` bytes, ``content`` may be the beginning alone, as long as it holds the header.
    The library checks most of this too; a header that two readers could read differently is refused here.
    Raises ValueError, and CheckpointError that opens with ``what`` where the header is no strict JSON.
    """
    whole = len(content) if size is None else size
    length = int.from_bytes(content[:PREFIX_BYTES], "little")
    if len(content) < PREFIX_BYTES or length > whole - PREFIX_BYTES:
        raise ValueError(f"the header would have {length} bytes, the file has {whole}")
    if length > LARGEST_HEADER:
        raise ValueError(f"the header has {length} bytes; expected at most {LARGEST_HEADER}")
    header = parse_document(content[PREFIX_BYTES : PREFIX_BYTES + length], f"{what}: header")
    if not isinstance(header, dict):
        raise ValueError(f"the header is a {type(header).__name__}; expected an object")
    if header.pop("__metadata__", _USUAL) != _USUAL:  # words that no check is about
        raise ValueError("the header has metadata; expected tensors alone")
    entries = [_entry(name, record, codes) for name, record in header.items()]
    position = 0
    for entry in sorted(entries, key=lambda entry: (entry.start, entry.end)):
        if entry.start != position:
            raise ValueError(f"tensor {few([entry.name])} starts at byte {entry.start}; expected {position}")
        position = entry.end
    if position != whole - PREFIX_BYTES - length:
        raise ValueError(f"the tensors end at byte {position} of {whole - PREFIX_BYTES - length}")
    return {entry.name: entry for entry in entries}


def _entry(name: str, record: Any, codes: Mapping[str, int]) -> TensorEntry:
    if not isinstance(record, dict) or set(record) != {"dtype", "shape", "data_offsets"}:
        raise ValueError(f"tensor {few([name])} needs exactly dtype, shape and data_offsets")
    code, shape, offsets = record["dtype"], record["shape"], record["data_offsets"]
    if not isinstance(code, str) or code not in codes:
        shown = printable(repr(code), longest=40)
        raise ValueError(f"tensor {few([name])} has dtype {shown}; expected {' or '.join(codes)}")
    if not _are_sizes(shape) or not _are_sizes(offsets) or len(offsets) != 2:
        raise ValueError(f"tensor {few([name])} has a shape or offsets that are no sizes")
    if offsets[1] - offsets[0] != math.prod(shape) * codes[code]:
        raise ValueError(f"tensor {few([name])} has offsets {offsets} for shape {shape[:8]} of {code}")
    return TensorEntry(name, code, tuple(shape), offsets[0], offsets[1])


def _are_sizes(value: Any) -> bool:
    return isinstance(value, list) and all(type(size) is int and size >= 0 for size in value)
