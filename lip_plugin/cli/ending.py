"""Errors as one line on stderr and the documented exit code, also where several processes end together."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from lip_plugin.errors import LipPluginError, RefusedError, SoundnessError, StoppedError
from lip_plugin.untrusted import printable

if TYPE_CHECKING:
    from lip_plugin.ranks import Ranks

EXIT_FAILED_CHECK = 1
EXIT_BAD_INPUT = 2
_LONGEST_LINE = 1900  # characters


def fail(message: str, code: int) -> int:
    """Print the line, whatever a stranger's file has put into it, however much; return the code."""
    line = f"lip: {printable(' '.join(message.split()))}"
    click.echo(line if len(line) <= _LONGEST_LINE else f"{line[: _LONGEST_LINE - 3]}...", err=True)
    return code


def line_and_code(error: LipPluginError | OSError) -> tuple[str, int]:
    if isinstance(error, OSError):
        return f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}", EXIT_BAD_INPUT
    if isinstance(error, StoppedError):
        return str(error), 128 + error.signal
    failed = isinstance(error, SoundnessError | RefusedError)
    return str(error), EXIT_FAILED_CHECK if failed else EXIT_BAD_INPUT


@contextmanager
def ended_together(ranks: Ranks) -> Generator[None]:
    """For a block whose errors are the same on all ranks: the leader prints the line, then all exit alike.

    torchrun stops the other processes as soon as one has failed, hence the line before any exit.
    """
    try:
        yield
    except (LipPluginError, OSError) as error:
        if ranks.world == 1:
            raise
        line, code = line_and_code(error)
        if ranks.leads:
            fail(line, code)
        ranks.wait_for_last_word()
        raise click.exceptions.Exit(code) from error
