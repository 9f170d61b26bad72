"""The idx format of MNIST and Fashion-MNIST, plain or gzip (LeCun's description of the format)."""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt

from lip_plugin.errors import DataError

_UNSIGNED_BYTE = 0x08
_PREFIX = {"train": "train", "test": "t10k"}


def read_idx_split(
    directory: Path, split: str, *, folder: str, what: str
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """(images (N, H, W), labels (N,)) of a split from the directory itself or a ``folder`` in it. Raises DataError.

    ``what`` names the data set in messages.
    """
    stems = (f"{_PREFIX[split]}-images-idx3-ubyte", f"{_PREFIX[split]}-labels-idx1-ubyte")
    images, labels = (read_idx(_find(directory, folder, stem, what)) for stem in stems)
    return images, labels


def _find(directory: Path, folder: str, stem: str, what: str) -> Path:
    for candidate in [directory / inner / f"{stem}{ending}" for inner in (".", folder) for ending in ("", ".gz")]:
        if candidate.is_file():
            return candidate
    raise DataError(f"no {stem}[.gz] in {directory} (nor in {folder}); that is not a {what} directory")


def read_idx(path: Path) -> npt.NDArray[np.uint8]:
    """An idx file of unsigned bytes. Raises DataError on a missing, truncated or foreign file."""
    try:
        raw = path.read_bytes()
        content = gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"cannot read {path}: {error}; fetch the file again") from error
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] != _UNSIGNED_BYTE:
        raise DataError(f"{path} is not an idx file of unsigned bytes; fetch the file again")
    dimensions = content[3]
    header = 4 + 4 * dimensions
    shape = struct.unpack(f">{dimensions}I", content[4:header]) if len(content) >= header else ()
    if not shape or len(content) - header != math.prod(shape):
        raise DataError(f"{path} is truncated: {len(content)} bytes for shape {shape}; fetch the file again")
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)
