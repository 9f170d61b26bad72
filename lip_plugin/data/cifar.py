"""CIFAR-10 and CIFAR-100 from their official binary files or python batches."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
from einops import EinopsError, rearrange

from lip_plugin.errors import DataError

_PIXEL_BYTES = 3 * 32 * 32
_SIDES = {"c": 3, "h": 32, "w": 32}
# What the unpickler raises on a damaged file: its manual says "not necessarily limited to" UnpicklingError.
_PICKLE_ERRORS = (
    OSError,
    EinopsError,
    pickle.UnpicklingError,
    EOFError,
    LookupError,
    ValueError,
    TypeError,
    ArithmeticError,
    AttributeError,
    ImportError,
    MemoryError,
)


Batches = tuple[npt.NDArray[np.uint8], npt.NDArray[np.integer[Any]]]


@dataclass(frozen=True)
class BatchFiles:
    """Where one of the two data sets keeps what. A binary record is ``label_bytes`` labels, the last one used."""

    title: str
    folders: tuple[str, str]
    batches: Mapping[str, tuple[str, ...]]
    label_bytes: int
    label_key: bytes


def read_batches(layout: BatchFiles, directory: Path, split: str) -> Batches:
    """Images (N, 3, 32, 32) and labels (N,) from the directory or one of its ``folders``. Raises DataError."""
    batches = layout.batches[split]
    for folder in (directory, *(directory / name for name in layout.folders)):
        for ending, read in ((".bin", _read_binary), ("", _read_python)):
            files = [folder / f"{batch}{ending}" for batch in batches]
            if all(file.is_file() for file in files):
                parts = [read(layout, file) for file in files]
                pixels, labels = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
                return pixels, labels
    raise DataError(f"no {batches[0]}[.bin] in {directory} or its folders {' and '.join(layout.folders)}")


def _read_binary(layout: BatchFiles, path: Path) -> tuple[Any, Any]:
    raw = np.frombuffer(path.read_bytes(), np.uint8)
    record = layout.label_bytes + _PIXEL_BYTES
    if raw.size == 0 or raw.size % record:
        raise DataError(f"{path} has {raw.size} bytes, not a multiple of {record}; fetch it again")
    records = raw.reshape(-1, record)
    return rearrange(records[:, layout.label_bytes :], "n (c h w) -> n c h w", **_SIDES), records[
        :, layout.label_bytes - 1
    ]


class _PlainUnpickler(pickle.Unpickler):
    """Batches hold lists, strings and one array: nothing else may be named in the file."""

    _ALLOWED = frozenset({"_reconstruct", "ndarray", "dtype", "_frombuffer", "encode"})

    def find_class(self, module: str, name: str) -> Any:
        if name in self._ALLOWED and module.split(".")[0] in ("numpy", "_codecs"):
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"the file asks for {module}.{name}")


def _read_python(layout: BatchFiles, path: Path) -> tuple[Any, Any]:
    try:
        with path.open("rb") as file:
            batch = _unpickle(file)
        pixels, labels = np.asarray(batch[b"data"]), np.asarray(batch[layout.label_key])
        if pixels.dtype != np.uint8:
            raise ValueError(f"its data is {pixels.dtype}, not uint8")
        return rearrange(pixels, "n (c h w) -> n c h w", **_SIDES), labels
    except _PICKLE_ERRORS as error:
        raise DataError(f"{path} is not a {layout.title} python batch: {error}") from error


def _unpickle(file: IO[bytes]) -> dict[bytes, Any]:
    batch = _PlainUnpickler(file, encoding="bytes").load()
    if not isinstance(batch, dict):
        raise pickle.UnpicklingError("no dictionary")
    return {key.encode() if isinstance(key, str) else key: value for key, value in batch.items()}
