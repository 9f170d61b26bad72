"""Files from anyone: JSON, safetensors, images and points. What is not as it should be is an error."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from .arithmetic import Array, Shape

MAX_HEADER, MAX_INTEGER = 1 << 24, 4096
DTYPES = {"float32": "<f4", "float64": "<f8", "F32": "<f4", "F64": "<f8"}


def integers(value: Any, what: str, count: int | None, least: int, most: int = MAX_INTEGER) -> list[int]:
    if not isinstance(value, list) or count not in (None, len(value)) or any(type(v) is not int for v in value):
        raise ValueError(f"{what} is {value!r}, expected a list of {count or 'any number of'} integers")
    if any(not least <= v <= most for v in value):
        raise ValueError(f"{what} is {value!r}, outside [{least}, {most}]")
    return value


def parse_json(content: bytes, what: str) -> dict[str, Any]:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len({key for key, _ in pairs}) != len(pairs):
            raise ValueError(f"{what} repeats a key")
        return dict(pairs)

    return json.loads(content.decode(), object_pairs_hook=unique)


def read_safetensors(content: bytes) -> dict[str, Array]:
    """8 bytes of header length, a JSON header, then the data: contiguous, no overlap, no gap, nothing left over."""
    size = int.from_bytes(content[:8], "little")
    if len(content) < 8 or size > min(MAX_HEADER, len(content) - 8):
        raise ValueError(f"weights: header of {size} bytes in a file of {len(content)}")
    header, data = parse_json(content[8 : 8 + size], "weights header"), content[8 + size :]
    header.pop("__metadata__", None)
    spans = {name: integers(entry["data_offsets"], name, 2, 0, len(data)) for name, entry in header.items()}
    tensors: dict[str, Array] = {}
    end = 0
    for name, (start, stop) in sorted(spans.items(), key=lambda item: item[1]):
        shape, dtype = integers(header[name]["shape"], name, None, 0, len(data)), DTYPES.get(header[name]["dtype"])
        if dtype is None or start != end or stop - start != math.prod(shape) * int(dtype[-1]):
            raise ValueError(f"weights: {name} {header[name]} does not follow byte {end} of {len(data)}")
        tensors[name], end = np.frombuffer(data[start:stop], dtype).reshape(shape), stop
    if end != len(data):
        raise ValueError(f"weights: {len(data) - end} bytes belong to no tensor")
    return tensors


def read_images(path: Path, shape: Shape, dtype: str, count: int) -> tuple[Array, Array]:
    """The first images as float64, and their labels. Pixels are uint8/255 or floats, rounded to the card's dtype."""
    with np.load(path, allow_pickle=False) as archive:
        x, y = archive["x"][:count], archive["y"][:count]
    if x.shape[1:] != shape or not len(x) or y.shape != x.shape[:1] or (x.dtype != np.uint8 and x.dtype.kind != "f"):
        raise ValueError(f"{path.name}: x is {x.dtype} {x.shape}, y {y.shape}; the model takes {shape}")
    x = x.astype(dtype) / np.array(255 if x.dtype == np.uint8 else 1, dtype)
    if not (x.min() >= 0 and x.max() <= 1):
        raise ValueError(f"{path.name}: pixels outside [0,1]")
    return x.astype(np.float64), y


def read_points(path: Path, count: int) -> dict[int, dict[str, str]]:
    """The rows of points.csv among the first ``count`` images, by index."""
    rows = list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))
    kept = {int(row["index"]): row for row in rows if 0 <= int(row["index"]) < count}
    if len({int(row["index"]) for row in rows}) != len(rows) or not kept:
        raise ValueError(f"{path.name}: an index is repeated, or none is among the first {count}")
    return kept
