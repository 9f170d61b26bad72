"""The process of ``lip``: how it ends is settled before anything heavy is imported, and every end has its code."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from lip_plugin.cli import place, signals

_SPINS = "10000"
"""How long a thread of torch that waits for another keeps its core from whoever could use it: tens of microseconds."""


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Entry point of the console script; the process ends with it."""
    if "OMP_WAIT_POLICY" not in os.environ:  # libgomp looks when torch is imported; its own choice is to spin for ever
        os.environ.setdefault("GOMP_SPINCOUNT", _SPINS)
    try:
        place.enter(command=arguments is None)
        signals.listen()
        from lip_plugin.cli import exits, streams

        exits.guard()
        streams.check()
        code = run(arguments)
    except BaseException as error:  # a signal that came beside the command
        code = _ended(error)
    signals.rest()
    from lip_plugin.cli import exits

    exits.settle(code)
    sys.exit(code)


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; an error becomes a line on stderr."""
    try:
        from lip_plugin.cli.commands import call

        code = call(arguments)
        sys.stdout.flush()
    except BaseException as error:
        return _ended(error)
    return code


def _ended(error: BaseException) -> int:
    from lip_plugin.cli.ending import ended

    return ended(error)
