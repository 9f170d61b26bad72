"""What a data loader's worker processes need beside torch's own care."""

from __future__ import annotations

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
