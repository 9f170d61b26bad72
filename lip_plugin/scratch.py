"""Scratch folders beside an output: locked while they are in use, swept by a later run where theirs was killed."""

from __future__ import annotations

import os
import platform
import re
import shutil
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

_NAME = re.compile(r"\.lip-scratch-[0-9a-f]{16}")
_LOCK = "lock"
_WEEK, _HOUR = 7 * 24 * 3600, 3600


@contextmanager
def scratch_folder(parent: Path) -> Generator[Path]:
    """A new folder in ``parent``, which is made where it is missing; afterwards neither is left. Raises OSError.

    Sweeps first. What the block puts into `set_aside` goes back to where it was, unless something has its place.
    """
    sweep(parent)
    missing = [folder for folder in (parent, *parent.parents) if not folder.exists()]
    scratch = parent / f".lip-scratch-{os.urandom(8).hex()}"
    try:  # named before it is made: a signal may come between any two steps
        if missing:
            parent.mkdir(parents=True, exist_ok=True)
        scratch.mkdir(mode=0o700)
        with _held(scratch / _LOCK):
            yield scratch
    finally:
        _remove(scratch)
        for folder in missing:
            with suppress(OSError):  # it is in use
                folder.rmdir()


def set_aside(scratch: Path, directory: Path) -> None:
    """Move ``directory``, beside ``scratch``, into it. Raises OSError."""
    (scratch / "old").mkdir(exist_ok=True)
    os.replace(directory, scratch / "old" / directory.name)


def put_back(scratch: Path) -> None:
    """The other way round, where the place is free. Raises OSError."""
    for kept in (scratch / "old").glob("*"):
        if not os.path.lexists(scratch.parent / kept.name):
            os.replace(kept, scratch.parent / kept.name)


def sweep(parent: Path) -> None:
    """Remove what killed runs have left in ``parent``, and nothing of a run that may be alive."""
    with suppress(OSError):
        for scratch in [found for found in parent.iterdir() if _NAME.fullmatch(found.name)]:
            with suppress(OSError):
                if not scratch.is_symlink() and _is_left(scratch):
                    _remove(scratch)


def _remove(scratch: Path) -> None:
    with suppress(FileNotFoundError):
        put_back(scratch)
    shutil.rmtree(scratch, ignore_errors=True)


def _is_left(scratch: Path) -> bool:
    """Nobody holds the lock, and it was this host's, or it is old: locks may not reach from host to host.

    Without a lock its run was killed in the moment between the two, or is there.
    """
    age = time.time() - scratch.stat().st_mtime
    try:
        with (scratch / _LOCK).open("r+", encoding="utf-8") as file:
            return _locked(file) and (age > _WEEK or file.read() == platform.node())
    except FileNotFoundError:
        return age > _HOUR


@contextmanager
def _held(lock: Path) -> Generator[None]:
    """The host is written once the lock is held, so that no other run of it finds the one without the other."""
    with lock.open("x", encoding="utf-8") as file:
        if _locked(file):
            file.write(platform.node())
            file.flush()
        yield


def _locked(file: IO[str]) -> bool:
    """Whether this process holds the lock now; never where there are no locks."""
    if sys.platform == "win32":
        return False
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
