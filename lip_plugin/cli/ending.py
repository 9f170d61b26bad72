"""Errors as one line on stderr and the documented exit code, also where several processes end together."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Generator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from lip_plugin.cli import signals
from lip_plugin.errors import (
    LipPluginError,
    LostProcessError,
    RefusedError,
    SoundnessError,
    StoppedError,
    UnwritableError,
)
from lip_plugin.memory import out_of_memory
from lip_plugin.untrusted import printable

if TYPE_CHECKING:
    from lip_plugin.ranks import Ranks

EXIT_FAILED_CHECK = 1
EXIT_BAD_INPUT = 2
EXIT_DEFECT = 70
EXIT_NO_MEMORY = 71
_BY_SIGNAL = 128
_SIGPIPE = 13
_LONGEST_LINE = 1900  # characters


def fail(message: str, code: int) -> int:
    """Print the line, whatever a stranger's file has put into it, however much; return the code."""
    line = f"lip: {printable(' '.join(message.split()))}"
    with suppress(OSError):  # nobody hears it; the code says it all the same
        print(line if len(line) <= _LONGEST_LINE else f"{line[: _LONGEST_LINE - 3]}...", file=sys.stderr, flush=True)
    return code


def ended(error: BaseException) -> int:
    """Say in one line how a command has ended, below its traceback where that is a defect; return the code."""
    number = signals.received() or (signal.SIGINT if isinstance(error, KeyboardInterrupt) else None)
    known = line_and_code(error)
    if number is not None and (known is None or known[1] != EXIT_FAILED_CHECK):
        return _stopped(number)
    if isinstance(error, UnwritableError) and error.broken_pipe:
        return _BY_SIGNAL + _SIGPIPE
    if known is not None:
        return fail(*known)
    if isinstance(error, SystemExit) and not error.code:
        return 0
    with suppress(OSError):  # a defect of ours; exit code 1 is kept for failed checks
        traceback.print_exception(error)
    return fail("unexpected error, please report it with the lines above", EXIT_DEFECT)


def _stopped(number: int) -> int:
    """torchrun signals all processes; the first one says it."""
    code = _BY_SIGNAL + number
    if os.environ.get("RANK", "0") != "0":
        return code
    return fail("interrupted" if number == signal.SIGINT else f"stopped by {signal.Signals(number).name}", code)


def line_and_code(error: BaseException) -> tuple[str, int] | None:
    """None for what is nobody's fault but ours."""
    if isinstance(error, SoundnessError | RefusedError):
        return str(error), EXIT_FAILED_CHECK
    if (lack := out_of_memory(error)) is not None:
        reason = (str(lack).strip().splitlines() or [type(lack).__name__])[0]
        return f"not enough memory ({reason}); free some, or lower --batch-size or --n", EXIT_NO_MEMORY
    if isinstance(error, StoppedError):
        return str(error), _BY_SIGNAL + error.signal
    if isinstance(error, LostProcessError):
        return str(error), error.code
    if isinstance(error, LipPluginError):
        return str(error), EXIT_BAD_INPUT
    if isinstance(error, OSError):
        return f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}", EXIT_BAD_INPUT
    return None


@contextmanager
def ended_together(ranks: Ranks) -> Generator[None]:
    """For a block whose errors are the same on all ranks: the leader prints the line, then all exit alike.

    torchrun stops the other processes as soon as one has failed, hence the line before any exit.
    """
    try:
        yield
    except Exception as error:
        known = line_and_code(error)
        if known is None or ranks.world == 1 or isinstance(error, LostProcessError):
            raise
        if ranks.leads:
            fail(*known)
        ranks.wait_for_last_word()
        from click.exceptions import Exit

        raise Exit(known[1]) from error
