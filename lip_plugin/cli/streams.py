"""stdout and stderr that say so, once, where they cannot be written: click and rich would exit with 1."""

from __future__ import annotations

import errno
import io
import os
import sys
from typing import TYPE_CHECKING, TextIO

from lip_plugin.errors import UnwritableError

if TYPE_CHECKING:
    from typing_extensions import Buffer


class _Checked(io.FileIO):
    def __init__(self, number: int, name: str) -> None:
        super().__init__(number, "w", closefd=False)
        self._label = name
        self._lost = False

    def write(self, data: Buffer, /) -> int | None:
        if self._lost:
            return memoryview(data).nbytes
        try:
            return super().write(data)
        except OSError as error:
            self._lost = True  # what is still in buffers goes nowhere, without another error
            words = f"cannot write to {self._label}: {error.strerror or error}"
            raise UnwritableError(words, broken_pipe=error.errno == errno.EPIPE) from error


def check() -> None:
    """Put them in place of those of the process. A closed stdout cannot be written; a closed stderr hears nothing."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:  # else the next file that is opened would get the number, and the output
            os.open(os.devnull, os.O_WRONLY if number == 2 else os.O_RDONLY)
    sys.stdout = _checked(sys.stdout, 1, "stdout")
    sys.stderr = _checked(sys.stderr, 2, "stderr")


def _checked(given: TextIO | None, number: int, name: str) -> TextIO:
    buffer = io.BufferedWriter(_Checked(number, name))
    if not isinstance(given, io.TextIOWrapper):
        return io.TextIOWrapper(buffer, errors="backslashreplace", line_buffering=True)
    # A name that the encoding lacks, which may be a stranger's, is no defect of ours.
    errors = "backslashreplace" if given.errors == "strict" else given.errors
    return io.TextIOWrapper(
        buffer, encoding=given.encoding, errors=errors, line_buffering=given.line_buffering or number == 2
    )
