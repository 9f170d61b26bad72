"""Files of a directory that a stranger packed: regular, inside it, of bounded size."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from lip_plugin.errors import CheckpointError

# Neither waits for a writer at a FIFO that took the file's place, nor follows a link that did; binary on Windows.
_FLAGS = os.O_RDONLY | sum(getattr(os, name, 0) for name in ("O_NONBLOCK", "O_NOFOLLOW", "O_CLOEXEC", "O_BINARY"))


def read_regular(path: Path, *, limit: int, links: bool = False) -> bytes:
    """The bytes of ``path``, which has at most ``limit`` of them. Raises as `open_regular`."""
    with open_regular(path, limit=limit, links=links) as (file, size):
        content = file.read(size + 1)
    if len(content) != size:
        raise CheckpointError(f"{path} changed while it was read; try again")
    return content


def read_piece(path: Path, start: int, size: int) -> bytes:
    """``size`` bytes of ``path`` from byte ``start`` on. Raises as `open_regular`, CheckpointError where it is cut."""
    with open_regular(path, limit=sys.maxsize) as (file, _):
        file.seek(start)
        content = file.read(size)
    if len(content) != size:
        raise CheckpointError(f"{path} changed while it was read; try again")
    return content


@contextmanager
def open_regular(path: Path, *, limit: int, links: bool = False) -> Generator[tuple[BinaryIO, int]]:
    """``path`` open for reading, and its size: a regular file that lies in its own directory.

    A link within the directory is followed, one that leads out of it is refused: it would make a model
    directory read whatever the receiver can read. ``links`` is for files whose content goes nowhere else, and
    follows them anywhere. Raises CheckpointError, and OSError where there is no file.
    """
    try:
        root, real = os.path.realpath(path.parent), os.path.realpath(path)
    except ValueError as error:  # a zero byte in the path
        raise CheckpointError(f"{str(path)!r} is not a path: {error}") from error
    if not links and os.path.commonpath([root, real]) != root:
        raise CheckpointError(f"{path} is a link out of its directory (to {real}); put the file itself there")
    _require_regular(os.stat(real), path)  # before opening, which can act on a device
    with os.fdopen(os.open(real, _FLAGS), "rb") as file:
        status = os.fstat(file.fileno())
        _require_regular(status, path)
        if status.st_size > limit:
            raise CheckpointError(f"{path} has {status.st_size} bytes; expected at most {limit}")
        yield file, status.st_size


def _require_regular(status: os.stat_result, path: Path) -> None:
    if not stat.S_ISREG(status.st_mode):
        kind = "directory" if stat.S_ISDIR(status.st_mode) else "FIFO, socket or device"
        raise CheckpointError(f"{path} is a {kind}; expected a regular file")
