"""Which errors mean that memory, or another resource of the machine, has run out. No torch."""

from __future__ import annotations

import errno
from collections.abc import Iterator

_WORDS = (
    "out of memory",  # CUDA
    "allocate memory",  # torch on the CPU; the dynamic linker
    "not enough memory",
    "unable to allocate",
    "alloc_failed",  # cuBLAS
    "bad_alloc",
    "failed to map segment",  # the dynamic linker
    "cannot map zero-fill pages",
    "cannot create shared object descriptor",
    "can't start new thread",
)


def out_of_memory(error: BaseException) -> BaseException | None:
    """The first error that said so, of those that led to this one; None where none did."""
    return next((one for one in reversed(list(_chain(error))) if _says_so(one)), None)


def _says_so(error: BaseException) -> bool:
    if isinstance(error, OSError) and error.errno is not None:  # the words may be a file's name
        return error.errno == errno.ENOMEM
    words = str(error).lower() if isinstance(error, RuntimeError | ImportError | OSError | SystemError) else ""
    return isinstance(error, MemoryError) or any(one in words for one in _WORDS)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__
