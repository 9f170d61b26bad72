"""CIFAR-10 from its official binary files or python batches."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import IO, Any

import numpy as np

from lip_plugin.data.images import ImageSet, checked_image_set
from lip_plugin.errors import DataError

_BATCHES = {"train": [f"data_batch_{index}" for index in range(1, 6)], "test": ["test_batch"]}
_BYTES_PER_IMAGE = 3 * 32 * 32
# What the unpickler raises on a damaged file: its manual says "not necessarily limited to" UnpicklingError.
_PICKLE_ERRORS = (
    OSError,
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


def read_cifar10(directory: Path, split: str) -> ImageSet:
    """Looks in the directory itself and in ``cifar-10-batches-bin`` and ``-py``. Raises DataError."""
    for folder in (directory, directory / "cifar-10-batches-bin", directory / "cifar-10-batches-py"):
        for ending, read in ((".bin", _read_binary), ("", _read_python)):
            files = [folder / f"{batch}{ending}" for batch in _BATCHES[split]]
            if all(file.is_file() for file in files):
                parts = [read(file) for file in files]
                pixels, labels = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
                source = f"cifar10 {split} split"
                return checked_image_set(pixels, labels, name="cifar10", source=source, split=split)
    raise DataError(f"no {_BATCHES[split][0]}[.bin] in {directory} or its cifar-10-batches-* folders")


def _read_binary(path: Path) -> tuple[Any, Any]:
    raw = np.frombuffer(path.read_bytes(), np.uint8)
    if raw.size == 0 or raw.size % (1 + _BYTES_PER_IMAGE):
        raise DataError(f"{path} has {raw.size} bytes, not a multiple of {1 + _BYTES_PER_IMAGE}; fetch it again")
    records = raw.reshape(-1, 1 + _BYTES_PER_IMAGE)
    return records[:, 1:].reshape(-1, 3, 32, 32), records[:, 0]


class _PlainUnpickler(pickle.Unpickler):
    """Batches hold lists, strings and one array: nothing else may be named in the file."""

    _ALLOWED = frozenset({"_reconstruct", "ndarray", "dtype", "_frombuffer", "encode"})

    def find_class(self, module: str, name: str) -> Any:
        if name in self._ALLOWED and module.split(".")[0] in ("numpy", "_codecs"):
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"the file asks for {module}.{name}")


def _read_python(path: Path) -> tuple[Any, Any]:
    try:
        with path.open("rb") as file:
            batch = _unpickle(file)
        pixels, labels = np.asarray(batch[b"data"]), np.asarray(batch[b"labels"])
        if pixels.dtype != np.uint8:
            raise ValueError(f"its data is {pixels.dtype}, not uint8")
        return pixels.reshape(-1, 3, 32, 32), labels
    except _PICKLE_ERRORS as error:
        raise DataError(f"{path} is not a CIFAR-10 python batch: {error}") from error


def _unpickle(file: IO[bytes]) -> dict[bytes, Any]:
    batch = _PlainUnpickler(file, encoding="bytes").load()
    if not isinstance(batch, dict):
        raise pickle.UnpicklingError("no dictionary")
    return {key.encode() if isinstance(key, str) else key: value for key, value in batch.items()}
