"""File names of a model directory, and output directories that appear only when they are complete."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from lip_plugin.errors import ConfigError

CARD_FILE = "card.json"
WEIGHTS_FILE = "model.safetensors"
"""The two files of a model directory."""


REPORT_FILES = frozenset({"report.json", "points.csv", "report.md", "report.html"})
"""What a report directory holds, and all that `--overwrite` of one may replace."""


def check_output_directory(directory: Path, *, replaceable: frozenset[str] = frozenset()) -> None:
    """Raise ConfigError where ``directory`` cannot become an output directory: before the work, not after it.

    An existing directory must be empty, or hold nothing but entries named in ``replaceable``: overwriting
    never removes what another tool or a person has put there.
    """
    try:
        _check(directory, replaceable)
    except OSError as error:
        raise ConfigError(f"output directory {directory} cannot be used: {error.strerror or error}") from error


def _check(directory: Path, replaceable: frozenset[str]) -> None:
    if directory.is_symlink() or (directory.exists() and not directory.is_dir()):
        raise ConfigError(f"output {directory} is a file or a link; give a directory")
    others = sorted({entry.name for entry in directory.iterdir()} - replaceable) if directory.is_dir() else []
    if others and replaceable:
        raise ConfigError(f"{directory} holds {others[0]!r}, which --overwrite does not replace; choose another one")
    if others:
        raise ConfigError(
            f"output directory {directory} exists and is not empty; choose another one or pass --overwrite"
        )
    if directory.absolute() == Path.cwd():
        raise ConfigError(f"output directory {directory} is the current directory; give a new one")
    parent = directory.absolute().parent
    while not parent.exists():
        parent = parent.parent
    if not parent.is_dir() or not os.access(parent, os.W_OK | os.X_OK):
        raise ConfigError(f"output directory {directory} is not writable (under {parent}); choose another one")


@contextmanager
def complete_directory(directory: Path, *, replaceable: frozenset[str] = frozenset()) -> Generator[Path]:
    """A scratch directory that takes the final name when the block ends without an error. Raises ConfigError."""
    check_output_directory(directory, replaceable=replaceable)
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=".lip-", dir=directory.parent))
    except OSError as error:
        raise ConfigError(f"cannot write {directory}: {error.strerror or error}") from error
    try:
        partial = scratch / "new"
        partial.mkdir()
        yield partial
        _swap_in(partial, directory, scratch / "old")
    except OSError as error:
        raise ConfigError(f"cannot write {directory}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _swap_in(partial: Path, directory: Path, old: Path) -> None:
    """Rename into place; whatever interrupts it, the former directory is put back."""
    if directory.exists():
        os.replace(directory, old)
    try:
        os.replace(partial, directory)
    except BaseException:
        if old.exists():
            os.replace(old, directory)
        raise


def write_atomically(path: Path, content: bytes) -> None:
    """The whole file or the former one. Raises OSError."""
    partial = path.with_name(f".{path.name}.partial")
    partial.write_bytes(content)
    os.replace(partial, path)
