"""The journal of an evaluation: a folder with one file per finished work unit, so that a killed run can go on.

What a unit finds depends on nothing but what the journal is about and the state before it; one that is there already
is taken up instead of done again. Files are written whole or not at all.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import Tensor

from lip_plugin.errors import CheckpointError, ConfigError
from lip_plugin.evaluate.unit_file import dump_unit, load_unit
from lip_plugin.files import write_atomically
from lip_plugin.untrusted import few, parse_document, printable, read_regular

ABOUT_FILE = "journal.json"
CERTIFICATE = "certificate"
"""How the names of certificates begin."""
_SUFFIX = ".unit"
_UNIT = re.compile(r"([a-z0-9.]+-)+[0-9]{6,}\.unit")
_LARGEST_ABOUT = 2**20
_OVERHEAD = 2**16
"""Bytes of a unit's file beside its tensors."""


@dataclass(frozen=True)
class Units:
    """How many a folder holds: ``certificates`` of blocks and results of attack stages on blocks."""

    certificates: int
    attacks: int

    @property
    def any(self) -> bool:
        return self.certificates + self.attacks > 0


def count_units(folder: Path) -> Units:
    """Of a journal, 0 where there is none. Raises ConfigError where something else has its place, OSError."""
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise ConfigError(f"{folder} is a file or a link; finished work is kept in a folder of this name, move it away")
    names = [entry.name for entry in folder.iterdir()] if folder.is_dir() else []
    others = sorted(name for name in names if not _is_ours(name))
    if others:
        raise ConfigError(f"{folder} holds {few(others[:1])}, which no evaluation has put there; move it away")
    units = [name for name in names if name.endswith(_SUFFIX)]
    certificates = sum(name.startswith(CERTIFICATE) for name in units)
    return Units(certificates, len(units) - certificates)


def remove_journal(folder: Path) -> None:
    """All of it; something else in the folder stays, and so does the folder then. Raises OSError."""
    for path in [path for path in folder.iterdir() if _is_ours(path.name)]:
        path.unlink(missing_ok=True)
    if not any(folder.iterdir()):
        folder.rmdir()


def _is_ours(name: str) -> bool:
    whole = name.removeprefix(".").removesuffix(".partial")  # as it is written
    return whole == ABOUT_FILE or _UNIT.fullmatch(whole) is not None


@dataclass(eq=False)
class Journal:
    """Units of the evaluation that ``about`` describes. ``seconds`` were spent on those taken up so far.

    Units are kept in ``folder`` and taken from there, those of block b else from part b modulo their number of
    ``parts``. ``pixels``: block -> digest of its pixels, of the blocks that this process has seen.
    """

    folder: Path
    about: Mapping[str, Any]
    parts: tuple[Path, ...] = ()
    seconds: float = 0.0
    pixels: dict[int, str] = field(default_factory=dict[int, str])

    @cached_property
    def id(self) -> str:
        return hashlib.sha256(json.dumps(self.about, sort_keys=True).encode()).hexdigest()

    def begin(self) -> None:
        """Make the folder, or find it to be about the same. Raises ConfigError."""
        for part in self.parts:
            self._require_same(part)
        try:
            if count_units(self.folder).any:
                self._require_same(self.folder)
                return
            self.folder.mkdir(parents=True, exist_ok=True)
            write_atomically(self.folder / ABOUT_FILE, (json.dumps(self.about, indent=1) + "\n").encode())
        except OSError as error:
            raise ConfigError(f"{self.folder} cannot be used: {error.strerror or error}") from error

    def _require_same(self, folder: Path) -> None:
        path = folder / ABOUT_FILE
        try:
            found: Any = parse_document(read_regular(path, limit=_LARGEST_ABOUT), str(path))
        except CheckpointError as error:
            raise ConfigError(f"{error}; remove {folder} to start over") from error
        now: dict[str, Any] = json.loads(json.dumps(self.about))
        was = dict[str, Any](found) if isinstance(found, dict) else {}
        for name in [*now, *was]:
            if was.get(name) != now.get(name):
                told = " and ".join(printable(json.dumps(of.get(name)), longest=80) for of in (was, now))
                raise ConfigError(
                    f"{path} is of another evaluation: {name} there and here: {told}; "
                    f"ask for the same, or remove {folder} to start over"
                )

    def look(self, block: int, pixels: Tensor) -> str:
        """The digest of a block's pixels; noted."""
        self.pixels[block] = hashlib.sha256(pixels.detach().cpu().numpy().tobytes()).hexdigest()
        return self.pixels[block]

    def path(self, name: str, block: int) -> Path:
        """Where a unit of a block is, or will be."""
        own = self.folder / f"{name}{_SUFFIX}"
        if not self.parts or own.exists():
            return own
        other = self.parts[block % len(self.parts)] / own.name
        return other if other.exists() else own

    def refusal(self, name: str, block: int, reason: object) -> ConfigError:
        path = self.path(name, block)
        return ConfigError(f"{path} cannot be taken up: {reason}; remove this file, and it is worked out again")

    def keep(self, name: str, block: int, tensors: Mapping[str, Tensor], *, seconds: float) -> None:
        """Raises ConfigError where there is no room."""
        about = {"journal": self.id, "unit": name, "pixels": self.pixels[block], "seconds": seconds}
        path = self.folder / f"{name}{_SUFFIX}"
        try:
            write_atomically(path, dump_unit(about, tensors))
        except OSError as error:
            raise ConfigError(
                f"cannot write {path}: {error.strerror or error}; what was finished before is kept, "
                "make room and go on with --resume"
            ) from error

    def take(self, name: str, block: int, *, largest: int) -> tuple[dict[str, Tensor], float] | None:
        """Tensors of at most so many bytes, and the seconds that they took; None where the unit is not there.

        Their meaning is for the caller to check. Raises ConfigError for a file that is damaged or of something else.
        """
        try:
            about, tensors = load_unit(self.path(name, block), limit=largest + _OVERHEAD)
        except FileNotFoundError:
            return None
        except (CheckpointError, OSError) as error:
            raise self.refusal(name, block, error) from error
        seconds = about.get("seconds")
        if about.get("journal") != self.id:
            raise self.refusal(name, block, "it is of another model, other labels or other settings")
        if about.get("unit") != name:
            raise self.refusal(name, block, "it is another unit's, renamed")
        if about.get("pixels") != self.pixels[block]:
            raise self.refusal(name, block, f"the pixels of block {block} were others")
        if not isinstance(seconds, float) or not seconds >= 0:
            raise self.refusal(name, block, "it does not say how long it took")
        return tensors, seconds
