"""Arrays out of .npz files that somebody else made."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lip_plugin.errors import DataError

# What zipfile, zlib and numpy raise on damaged and foreign files (NotImplementedError is a RuntimeError).
UNREADABLE = (
    OSError,
    ValueError,
    EOFError,
    AttributeError,
    TypeError,
    LookupError,
    RuntimeError,
    MemoryError,
    zipfile.BadZipFile,
    zlib.error,
)


def read_npz(path: Path, keys: tuple[str, str]) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Two arrays, each read once into memory of its own size (numpy maps .npy files only). Raises DataError."""
    expected = f"expected an .npz with arrays {keys[0]} and {keys[1]}"
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            missing = sorted(set(keys) - set(archive.files))
            if not missing:
                return archive[keys[0]], archive[keys[1]]
    except UNREADABLE as error:
        reason = "no such file" if isinstance(error, FileNotFoundError) else error
        raise DataError(f"cannot read {path}: {reason}; {expected}") from error
    raise DataError(f"{path} lacks {missing}; {expected}")
