"""Arrays out of .npz files that somebody else made."""

from __future__ import annotations

import math
import struct
import tokenize
import zipfile
import zlib
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from lip_plugin.errors import DataError
from lip_plugin.untrusted import few

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
    ArithmeticError,
    struct.error,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
)


_FIRST, _END = b"PK\x03\x04", b"PK\x05\x06"
_END_BYTES = 22  # of the end record of a zip file without a comment
_LOCAL_BYTES = 30  # of the record before an entry, without its name and its extra field
_SIZES_FOLLOW = 0x08  # a flag: sizes stand behind the entry as well
_SIZES_BYTES, _LARGE_SIZES_BYTES = 16, 24  # of what stands there
_LARGE = 2**32 - 1
_LONGEST_HEADER = 2**10
"""Characters of an array's header, which numpy gives to Python's parser: a deep one makes that run out of memory."""

# Of simple arrays; 3.0 is for names of fields beyond Latin-1.
_HEADERS = {(1, 0): (np.lib.format.read_array_header_1_0, 2), (2, 0): (np.lib.format.read_array_header_2_0, 4)}
"""By version: what reads one, and the bytes of its length."""


Keys = tuple[str, str]
"""What images and labels are called."""


def read_npz(path: Path, *known: Keys) -> tuple[Keys, npt.NDArray[Any], npt.NDArray[Any]]:
    """The first of the ``known`` pairs that is there, under its names, each array read once into memory of its size.

    (numpy maps .npy files only.) Raises DataError, which says what the file holds.
    """
    expected = f"expected an .npz with arrays {', or '.join(' and '.join(keys) for keys in known)}"
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            for keys in known:
                if set(keys) <= set(archive.files):
                    require_honest_sizes(archive.zip, keys)
                    return keys, archive[keys[0]], archive[keys[1]]
            missing = min((sorted(set(keys) - set(archive.files)) for keys in known), key=len)
            holds = few(_described(archive.zip))
    except UNREADABLE as error:
        reason = "no such file" if isinstance(error, FileNotFoundError) else error
        raise DataError(f"cannot read {path}: {reason}; {expected}") from error
    raise DataError(f"{path} lacks {missing}, it holds {holds}; {expected}")


def require_lone_entries(content: bytes, archive: zipfile.ZipFile) -> None:
    """Raise ValueError for a zip file with anything around or between its entries, two of one name, or compressed ones.

    Readers differ in which of the two they read, and others may take the file for something else than a zip file.
    """
    names = archive.namelist()
    if len(set(names)) != len(names):
        raise ValueError("two entries of one name")
    if not content.startswith(_FIRST) or content[-_END_BYTES:][:4] != _END:
        raise ValueError("bytes around the entries of the zip file")
    position = 0
    for entry in sorted(archive.infolist(), key=lambda entry: entry.header_offset):
        if entry.compress_type != zipfile.ZIP_STORED or entry.compress_size != entry.file_size:
            raise ValueError("compressed entries")
        if entry.header_offset != position or entry.comment:
            raise ValueError("bytes between the entries of the zip file")
        position = _end(content, entry)
    if position != archive.start_dir:
        raise ValueError("bytes between the entries of the zip file")


def _end(content: bytes, entry: zipfile.ZipInfo) -> int:
    """Where the next entry starts."""
    name, extra = struct.unpack_from("<HH", content, entry.header_offset + _LOCAL_BYTES - 4)
    position = entry.header_offset + _LOCAL_BYTES + name + extra + entry.compress_size
    if not entry.flag_bits & _SIZES_FOLLOW:
        return position
    large = max(entry.file_size, entry.header_offset) >= _LARGE
    return position + (_LARGE_SIZES_BYTES if large else _SIZES_BYTES)


def _described(archive: zipfile.ZipFile) -> list[str]:
    """``images uint8 (2, 1, 4, 4)`` of every array; the name alone of what is none."""
    found: list[str] = []
    for entry in archive.infolist():
        if not entry.filename.endswith(".npy"):
            found.append(entry.filename)
            continue
        with archive.open(entry) as file:
            shape, dtype = _header(file, entry.filename)
            found.append(f"{entry.filename.removesuffix('.npy')} {dtype} {shape}")
    return found


def _header(file: IO[bytes], name: str) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and element type, with the file at the data then. Raises ValueError for a header that numpy writes for none
    of our arrays.
    """
    version = np.lib.format.read_magic(file)
    if version not in _HEADERS:
        raise ValueError(f"{name} is in version {version} of numpy's format")
    read, length_bytes = _HEADERS[version]
    start = file.tell()
    length = int.from_bytes(file.read(length_bytes), "little")
    if length > _LONGEST_HEADER:
        raise ValueError(f"{name} has a header of {length} bytes; at most {_LONGEST_HEADER} are read")
    file.seek(start)
    shape, _, dtype = read(file)
    return shape, dtype


def require_honest_sizes(archive: zipfile.ZipFile, keys: Keys) -> None:
    """Raise ValueError for an array whose header claims other bytes than follow: numpy allocates what it claims."""
    for entry in archive.infolist():
        if entry.filename.removesuffix(".npy") not in keys:
            continue
        with archive.open(entry) as file:
            shape, dtype = _header(file, entry.filename)
            claimed, there = math.prod(shape) * dtype.itemsize, entry.file_size - file.tell()
        if claimed != there and not dtype.hasobject:  # numpy refuses objects
            raise ValueError(f"{entry.filename} claims {claimed} bytes of data and has {there}")
