"""Signals that end a command: an exception that no library catches by accident, so that blocks tidy up."""

from __future__ import annotations

import signal
from types import FrameType

_ENDING = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
_received: list[int] = []


class SignalledError(BaseException):
    """A signal has come."""


def listen() -> None:
    """From now on; a signal that is ignored stays so (nohup, jobs in the background)."""
    for number in _ENDING:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _raise)


def rest() -> None:
    """All is said: a further signal ends the process on the spot."""
    for number in _ENDING:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)


def received() -> int | None:
    """The last one. Import machinery and libraries in C may have made another error of its exception."""
    return _received[-1] if _received else None


def _raise(number: int, frame: FrameType | None) -> None:
    _received.append(number)
    raise SignalledError
