"""Limits on the time and memory of a command that works on a stranger's files."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import NoReturn

from lip_plugin.cli.ending import EXIT_BAD_INPUT, fail

MOST_SECONDS, MOST_GIGABYTES = 1800, 8
"""For one bundle, where nobody has said otherwise."""

_PERIOD = 0.1  # seconds between two looks: time to fill a few hundred MB
_LAST_WORD = 5.0  # seconds


@contextmanager
def limited(seconds: float, gigabytes: float, over: Callable[[str], str]) -> Generator[None]:
    """End the process with one line, ``over(what was too much)``, where the block takes more; whatever library it is in
    does not matter, as long as it lets other threads run, as torch, numpy and LAPACK do.

    Memory is that of this process, and looked at on Linux. What the block holds is not tidied up, which the next run
    does (`lip_plugin.scratch`).
    """
    done = threading.Event()
    latest = time.monotonic() + seconds

    def watch() -> None:
        while not done.wait(min(_PERIOD, max(0.0, latest - time.monotonic()))):
            if time.monotonic() >= latest:
                _end(over(f"more than {seconds:g} s"))
            if _held() > gigabytes * 2**30:
                _end(over(f"more than {gigabytes:g} GiB of memory"))

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()


def _held() -> int:
    """Bytes of memory that the process holds; 0 where nothing tells. (`getrusage` begins with those of a parent.)"""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


def _end(line: str) -> NoReturn:
    """Also where nobody reads stderr and the line cannot be written."""
    last = threading.Timer(_LAST_WORD, os._exit, [EXIT_BAD_INPUT])
    last.daemon = True
    last.start()
    fail(line, EXIT_BAD_INPUT)
    os._exit(EXIT_BAD_INPUT)
