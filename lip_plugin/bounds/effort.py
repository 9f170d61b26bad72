"""How much work the proof of a bound may take: what suffices, or whatever makes it smaller."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import get_args

from lip_plugin.errors import ConfigError
from lip_plugin.types import Effort

_EFFORT: ContextVar[Effort] = ContextVar("effort", default="quick")


def effort() -> Effort:
    """Which bounds are proved where this is asked."""
    return _EFFORT.get()


@contextmanager
def bounds_of(wanted: Effort) -> Generator[None]:
    """Bounds that are proved inside, by this thread, are ``"quick"``, the default, or ``"tight"``.

    Either is proved. A quick one of a convolution does not follow the border of both axes of the map, which makes it
    some tenths of a per cent larger, more on maps of a few pixels, and takes about a sixth of the time.

        >>> with lp.bounds_of("tight"):
        ...     certificate = lp.certify(model, x)

    Raises ConfigError for another word.
    """
    if wanted not in get_args(Effort):
        raise ConfigError(f"bounds are {' or '.join(get_args(Effort))}, got {wanted!r}")
    token = _EFFORT.set(wanted)
    try:
        yield
    finally:
        _EFFORT.reset(token)
