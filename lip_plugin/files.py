"""File names of a model directory, and output directories that appear only when they are complete."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

from lip_plugin.errors import ConfigError
from lip_plugin.scratch import put_back, scratch_folder, set_aside, sweep

CARD_FILE = "card.json"
WEIGHTS_FILE = "model.safetensors"
"""The two files of a model directory."""

TRAINABLE_FILE = "trainable.safetensors"
"""What `lip train` leaves beside them: the parameters that were frozen, for another run to begin with."""


REPORT_FILES = frozenset({"report.json", "points.csv", "report.md", "report.html"})
"""What a report directory holds, and all that `--overwrite` of one may replace."""


def check_output_directory(directory: Path, *, replaceable: frozenset[str] = frozenset()) -> None:
    """Raise ConfigError for a ``directory`` that is somebody else's, whether or not it could be written.

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


class Output:
    """Room for an output directory, held from before the work; see `output_directory`."""

    def __init__(self, directory: Path, scratch: Path, check: Callable[[], None]) -> None:
        self.directory = directory
        self._scratch = scratch
        self._check = check

    @contextmanager
    def filled(self) -> Generator[Path]:
        """A folder to fill; it takes the final name when the block ends without an error. Raises ConfigError."""
        new = self._scratch / "new"
        with _refusals(f"cannot write {self.directory}"):
            new.mkdir()
            yield new
            self._check()  # others may have written meanwhile
            if self.directory.exists():
                set_aside(self._scratch, self.directory)
            os.replace(new, self.directory)


@contextmanager
def output_directory(
    directory: Path, *, replaceable: frozenset[str] = frozenset(), check: Callable[[], None] | None = None
) -> Generator[Output]:
    """Hold room for ``directory`` while the block works; nothing is left beside it, whatever ends the block.

    Permission is asked by doing what will be done: a folder is made beside the final name, and a directory that is
    there already is moved and put back. ``check`` stands in for `check_output_directory`. Raises ConfigError.
    """
    check = check or partial(check_output_directory, directory, replaceable=replaceable)
    with ExitStack() as stack:
        with _refusals(f"output directory {directory} is not writable"):
            sweep(directory.absolute().parent)  # of a run killed while it moved, the former directory comes back
            check()
            scratch = stack.enter_context(scratch_folder(directory.absolute().parent))
            if directory.exists():
                set_aside(scratch, directory)
                put_back(scratch)
        yield Output(directory, scratch, check)


@contextmanager
def complete_directory(directory: Path, *, replaceable: frozenset[str] = frozenset()) -> Generator[Path]:
    """A folder that takes the final name when the block ends without an error. Raises ConfigError."""
    with output_directory(directory, replaceable=replaceable) as output, output.filled() as folder:
        yield folder


def require_writable(directory: Path) -> None:
    """Raise ConfigError where no file can be made in ``directory``, or that cannot be made; leaves nothing."""
    with (
        _refusals(f"output directory {directory} is not writable"),
        scratch_folder(directory if directory.is_dir() else directory.absolute().parent),
    ):
        pass


@contextmanager
def _refusals(what: str) -> Generator[None]:
    try:
        yield
    except OSError as error:
        raise ConfigError(f"{what}: {error.strerror or error}; choose another one") from error


def write_atomically(path: Path, content: bytes) -> None:
    """The whole file or the former one, also after the power fails. Raises OSError."""
    partial = path.with_name(partial_name(path.name))
    try:
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def partial_name(name: str) -> str:
    """What a file is called beside its final name until it is complete."""
    return f".{name}.partial"
