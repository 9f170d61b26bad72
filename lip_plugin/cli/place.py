"""What this process is: a command, how it can be started again, and its place where another one has started it so."""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
from dataclasses import dataclass
from typing import NoReturn

_VARIABLE = "LIP_PLUGIN_JOB"


@dataclass(frozen=True)
class Place:
    """``rank`` among the processes of a command, joined to the first one by the socket ``descriptor``."""

    rank: int
    descriptor: int

    def again(self) -> tuple[tuple[str, ...], dict[str, str]]:
        """Words and environment of a process in this place, whose first one is this process."""
        assert _this.command is not None
        return _this.command, {**os.environ, _VARIABLE: f"{self.rank}/{self.descriptor}"}


@dataclass
class _This:
    command: tuple[str, ...] | None = None
    place: Place | None = None


_this = _This()


def enter(*, command: bool) -> None:
    """At the beginning of a process, of which ``command`` says that `lip` is all it is there for.

    A further process does not hear signals, which may reach all of them: the first one ends the others, if only by
    ending itself.
    """
    _this.command = (sys.executable, *sys.orig_argv[1:]) if command and os.name == "posix" else None
    text = os.environ.pop(_VARIABLE, None)
    if text is None:
        return
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    _this.place = Place(*map(int, text.split("/")))
    threading.Thread(target=_end_with, args=[_this.place.descriptor], daemon=True).start()


def own() -> Place:
    """Of a further process."""
    assert _this.place is not None
    return _this.place


def is_further() -> bool:
    """Whether another process of the same command has started this one."""
    return _this.place is not None


def can_start() -> bool:
    """Whether there can be further processes of this one."""
    return _this.command is not None


def leave() -> NoReturn:
    """From any thread, and at once: a further process holds nothing that others would miss."""
    os._exit(0)


def _end_with(descriptor: int) -> None:
    """End this process, whatever it is at, where the other side of the socket is closed."""
    watched = select.poll()
    watched.register(descriptor, 0)
    closed = select.POLLHUP | select.POLLERR | select.POLLNVAL
    while not any(flags & closed for _, flags in watched.poll()):
        pass
    leave()
