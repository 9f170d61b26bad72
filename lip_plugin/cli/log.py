"""What the package logs, as plain lines on stderr: above a progress bar on a terminal, alone in a file."""

from __future__ import annotations

import logging
from collections.abc import Generator
from contextlib import contextmanager

import click


class _EchoHandler(logging.Handler):
    """Writes to the stderr of the moment, which a progress bar replaces while it runs."""

    def emit(self, record: logging.LogRecord) -> None:
        click.echo(self.format(record), err=True)


def log_to_stderr() -> None:
    """From INFO on, once per process."""
    logger = logging.getLogger("lip_plugin")
    if not any(isinstance(handler, _EchoHandler) for handler in logger.handlers):
        logger.addHandler(_EchoHandler())
        logger.setLevel(logging.INFO)


@contextmanager
def everything_on_stderr() -> Generator[None]:
    """All that is logged while the block runs."""
    logger, handler = logging.getLogger("lip_plugin"), _EchoHandler()
    before, others = logger.level, [found for found in logger.handlers if isinstance(found, _EchoHandler)]
    if not others:
        logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)
