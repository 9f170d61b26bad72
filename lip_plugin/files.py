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


def check_output_directory(directory: Path, *, overwrite: bool = False) -> None:
    """Raise ConfigError where ``directory`` cannot become an output directory: before the work, not after it."""
    if directory.is_dir() and any(directory.iterdir()) and not overwrite:
        raise ConfigError(
            f"output directory {directory} exists and is not empty; choose another one or pass --overwrite"
        )
    if directory.exists() and not directory.is_dir():
        raise ConfigError(f"output {directory} is a file; give a directory")
    parent = directory.absolute().parent
    while not parent.exists():
        parent = parent.parent
    if not parent.is_dir() or not os.access(parent, os.W_OK | os.X_OK):
        raise ConfigError(
            f"output directory {directory} is not writable: {parent} refuses new entries; choose another one"
        )


@contextmanager
def complete_directory(directory: Path, *, overwrite: bool = False) -> Generator[Path]:
    """A scratch directory that takes the final name when the block ends without an error. Raises ConfigError."""
    check_output_directory(directory, overwrite=overwrite)
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{directory.name}.", dir=directory.parent))
    except OSError as error:
        raise ConfigError(f"cannot write {directory}: {error.strerror or error}") from error
    try:
        partial = scratch / "new"
        partial.mkdir()
        yield partial
        if directory.exists():
            os.replace(directory, scratch / "old")
        os.replace(partial, directory)
    except OSError as error:
        raise ConfigError(f"cannot write {directory}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
