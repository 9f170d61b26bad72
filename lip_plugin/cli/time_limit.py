"""A limit on the time of a command that works on a stranger's files."""

from __future__ import annotations

import os
import threading
from collections.abc import Generator
from contextlib import contextmanager

from lip_plugin.cli.ending import EXIT_BAD_INPUT, fail


@contextmanager
def limited(seconds: float, late: str) -> Generator[None]:
    """End the process with one line, ``late``, where the block takes longer; whatever library it is in does not matter.

    What the block holds is not tidied up, which the next run does (`lip_plugin.scratch`).
    """
    timer = threading.Timer(seconds, _end, [late])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _end(late: str) -> None:
    fail(late, EXIT_BAD_INPUT)
    os._exit(EXIT_BAD_INPUT)
