"""Exit codes are ours alone: a library in C that gives up calls exit(1), which would pass for a failed check.

OpenBLAS and OpenMP do where memory or threads run out, perhaps while they are imported or in a thread of theirs.
"""

from __future__ import annotations

import ctypes
import os
from typing import Any

from lip_plugin.cli.ending import EXIT_NO_MEMORY

_WORDS = ctypes.create_string_buffer(b"lip: a library has given up, most likely for want of memory")


def guard() -> None:
    """Whoever ends the process without `settle` ends it for want of memory."""
    _at_exit("_exit", EXIT_NO_MEMORY)
    _at_exit("perror", ctypes.addressof(_WORDS))


def settle(code: int) -> None:
    """The process ends with ``code``: what is registered last is called first."""
    _at_exit("_exit", code)


def _at_exit(function: str, argument: int) -> None:
    """In C, since Python may be gone by then, or be held by the thread that waits for the one that gives up."""
    if os.name != "posix":
        return
    library: Any = ctypes.CDLL(None)
    address = ctypes.cast(library[function], ctypes.c_void_p)
    library["__cxa_atexit"](address, ctypes.c_void_p(argument), None)
