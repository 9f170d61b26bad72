"""CIFAR-10 and CIFAR-100 from their official binary files or python batches."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from lip_plugin.data.images import ImageSet, checked_image_set
from lip_plugin.errors import DataError

_PIXEL_BYTES = 3 * 32 * 32
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


@dataclass(frozen=True)
class _Layout:
    """Where one of the two data sets keeps what. A binary record is ``label_bytes`` labels, the last one used."""

    name: str
    title: str
    classes: int
    folders: tuple[str, str]
    batches: Mapping[str, tuple[str, ...]]
    label_bytes: int
    label_key: bytes


_CIFAR10 = _Layout(
    name="cifar10",
    title="CIFAR-10",
    classes=10,
    folders=("cifar-10-batches-bin", "cifar-10-batches-py"),
    batches={"train": tuple(f"data_batch_{index}" for index in range(1, 6)), "test": ("test_batch",)},
    label_bytes=1,
    label_key=b"labels",
)
_CIFAR100 = _Layout(
    name="cifar100",
    title="CIFAR-100",
    classes=100,
    folders=("cifar-100-binary", "cifar-100-python"),
    batches={"train": ("train",), "test": ("test",)},
    label_bytes=2,  # the coarse label, then the fine one
    label_key=b"fine_labels",
)


def read_cifar10(directory: Path, split: str) -> ImageSet:
    """Looks in the directory itself and in ``cifar-10-batches-bin`` and ``-py``. Raises DataError."""
    return _read(_CIFAR10, directory, split)


def read_cifar100(directory: Path, split: str) -> ImageSet:
    """The 100 fine classes. Looks in the directory, ``cifar-100-binary`` and ``-python``. Raises DataError."""
    return _read(_CIFAR100, directory, split)


def _read(layout: _Layout, directory: Path, split: str) -> ImageSet:
    batches = layout.batches[split]
    for folder in (directory, *(directory / name for name in layout.folders)):
        for ending, read in ((".bin", _read_binary), ("", _read_python)):
            files = [folder / f"{batch}{ending}" for batch in batches]
            if all(file.is_file() for file in files):
                parts = [read(layout, file) for file in files]
                pixels, labels = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
                source = f"{layout.name} {split} split"
                return checked_image_set(
                    pixels, labels, name=layout.name, source=source, split=split, num_classes=layout.classes
                )
    raise DataError(f"no {batches[0]}[.bin] in {directory} or its folders {' and '.join(layout.folders)}")


def _read_binary(layout: _Layout, path: Path) -> tuple[Any, Any]:
    raw = np.frombuffer(path.read_bytes(), np.uint8)
    record = layout.label_bytes + _PIXEL_BYTES
    if raw.size == 0 or raw.size % record:
        raise DataError(f"{path} has {raw.size} bytes, not a multiple of {record}; fetch it again")
    records = raw.reshape(-1, record)
    return records[:, layout.label_bytes :].reshape(-1, 3, 32, 32), records[:, layout.label_bytes - 1]


class _PlainUnpickler(pickle.Unpickler):
    """Batches hold lists, strings and one array: nothing else may be named in the file."""

    _ALLOWED = frozenset({"_reconstruct", "ndarray", "dtype", "_frombuffer", "encode"})

    def find_class(self, module: str, name: str) -> Any:
        if name in self._ALLOWED and module.split(".")[0] in ("numpy", "_codecs"):
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"the file asks for {module}.{name}")


def _read_python(layout: _Layout, path: Path) -> tuple[Any, Any]:
    try:
        with path.open("rb") as file:
            batch = _unpickle(file)
        pixels, labels = np.asarray(batch[b"data"]), np.asarray(batch[layout.label_key])
        if pixels.dtype != np.uint8:
            raise ValueError(f"its data is {pixels.dtype}, not uint8")
        return pixels.reshape(-1, 3, 32, 32), labels
    except _PICKLE_ERRORS as error:
        raise DataError(f"{path} is not a {layout.title} python batch: {error}") from error


def _unpickle(file: IO[bytes]) -> dict[bytes, Any]:
    batch = _PlainUnpickler(file, encoding="bytes").load()
    if not isinstance(batch, dict):
        raise pickle.UnpicklingError("no dictionary")
    return {key.encode() if isinstance(key, str) else key: value for key, value in batch.items()}
