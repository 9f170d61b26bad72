"""Every error this package raises on purpose.

The message is one line: what came, what was expected, what to do. The command line turns a
``LipPluginError`` into exit code 2, except ``SoundnessError`` and ``RefusedError``, which are failed checks
(exit code 1).
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class LipPluginError(Exception):
    """Base class of all errors raised by this package."""


class UnknownModelError(LipPluginError):
    """A model name that no registered directory answers to."""


class UnsupportedLayerError(LipPluginError):
    """A module, or a setting of one, for which no operator exists."""


class ChecksumError(LipPluginError):
    """Weights whose sha256 differs from the card."""


class CheckpointError(LipPluginError):
    """A state dict, checkpoint or model directory that does not fit."""


class DataError(LipPluginError):
    """Images, labels or data files that cannot be used."""


class ConfigError(LipPluginError):
    """An argument or setting outside its range."""


class StoppedError(LipPluginError):
    """A signal asked for a stop; the work so far is saved. ``signal`` is its number."""

    def __init__(self, message: str, signal: int) -> None:
        super().__init__(message)
        self.signal = signal


class LostProcessError(LipPluginError):
    """A process that shares the work is gone. ``code`` is the exit code of the command."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


class SoundnessError(LipPluginError):
    """A certificate was contradicted. Never expected; never to be ignored.

    ``report`` is the evaluation that found it, where there is one.
    """

    def __init__(self, message: str, report: object = None) -> None:
        super().__init__(message)
        self.report = report


class RefusedError(LipPluginError):
    """A submission that its board would refuse; the message names the rules. A failed check, like SoundnessError."""


class UnwritableError(OSError):
    """stdout or stderr cannot be written: nobody reads the pipe, the device is full, it is closed.

    Without ``errno``: libraries of command lines exit with 1 where they see a broken pipe.
    """

    def __init__(self, message: str, *, broken_pipe: bool) -> None:
        super().__init__(message)
        self.broken_pipe = broken_pipe


class MissingDependencyError(LipPluginError):
    """An optional library is not installed; the message names the extra."""


def close_matches(name: str, known: Iterable[str]) -> str:
    """`` Did you mean 'a' or 'b'?``, or an empty string where nothing is near."""
    candidates = list(known)
    lowered = {candidate.lower(): candidate for candidate in candidates}
    found = [lowered[match] for match in difflib.get_close_matches(name.lower(), lowered, n=3, cutoff=0.5)]
    return f" Did you mean {' or '.join(repr(match) for match in found)}?" if found else ""
