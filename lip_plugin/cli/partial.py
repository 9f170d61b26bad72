"""``OUT.partial``: what a command has finished of OUT, beside it until it is written."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from lip_plugin.cli import signals
from lip_plugin.cli.ending import fail
from lip_plugin.errors import ConfigError


def partial_folder(out: Path) -> Path:
    return out.with_name(f"{out.name}.partial")


@contextmanager
def kept_work(out: Path | None, *, resume: bool) -> Generator[None]:
    """For the block that works on ``out``: only finished work is left beside it, and a stop says how much there is.

    Raises ConfigError where there is work of an earlier run and nobody said to ``resume`` it.
    """
    from lip_plugin.evaluate.journal import count_units

    if out is None:
        if resume:
            raise ConfigError("--resume goes on with what is kept beside --out; give --out DIR")
        yield
        return
    folder = partial_folder(out)
    try:
        begun = count_units(folder)
    except OSError as error:
        raise ConfigError(f"{folder} cannot be used: {error.strerror or error}") from error
    if begun.any and not resume:
        raise ConfigError(
            f"{folder} holds what a run has finished of {out}; go on with --resume, or remove {folder} to start over"
        )
    try:
        yield
    except BaseException as error:
        _leave(folder, is_stop=signals.received() is not None or isinstance(error, KeyboardInterrupt))
        raise
    _leave(folder, is_stop=False)


def discard(out: Path) -> None:
    """Once ``out`` is written, or will never be; what cannot be removed stays."""
    from lip_plugin.evaluate.journal import remove_journal

    with suppress(OSError):
        remove_journal(partial_folder(out))


def _leave(folder: Path, *, is_stop: bool) -> None:
    from lip_plugin.evaluate.journal import count_units, remove_journal

    with suppress(OSError, ConfigError):
        units = count_units(folder)
        if not units.any:
            remove_journal(folder)
        elif is_stop:
            fail(
                f"{units.certificates} blocks of images are certified, {units.attacks} units of attacks are done; "
                f"they are kept in {folder}, and the same command with --resume goes on",
                0,
            )
