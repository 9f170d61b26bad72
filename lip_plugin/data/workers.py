"""What a data loader's worker processes need beside torch's own care."""

from __future__ import annotations

import signal
from collections.abc import Generator
from contextlib import contextmanager

from lip_plugin.errors import LipPluginError


@contextmanager
def one_line_errors() -> Generator[None]:
    """torch hands on a worker's error with its whole traceback as the message; the last line is what was meant."""
    try:
        yield
    except LipPluginError as error:
        kind = type(error)
        line = str(error).strip().splitlines()[-1]
        raise kind(line.removeprefix(f"{kind.__module__}.{kind.__qualname__}: ")) from error


def leave_signals_to_the_parent(worker: int) -> None:
    """For `worker_init_fn`: Ctrl-C and schedulers signal the whole process group.

    The parent saves its work and then ends its workers; without them it would fail before it could.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
