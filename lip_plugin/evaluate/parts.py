"""The folder of a finished part: its journal as it was, and ``part.json``, which names each of its files."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lip_plugin.errors import CheckpointError, ConfigError
from lip_plugin.evaluate.blocks import Part
from lip_plugin.evaluate.journal import ABOUT_FILE, CERTIFICATE
from lip_plugin.untrusted import few, is_plain_name, parse_document, printable, read_regular

FORMAT = "lip-part/1"
PART_FILE = "part.json"
_LARGEST = 2**26
_MOST_BLOCKS = 2**24


@dataclass(frozen=True)
class FinishedPart:
    """``about`` is that of its journal, ``asked`` what was typed, ``files`` name -> SHA-256."""

    folder: Path
    part: Part
    about: dict[str, Any]
    asked: dict[str, Any]
    files: dict[str, str]

    @property
    def names(self) -> frozenset[str]:
        """Of everything in its folder."""
        return frozenset({PART_FILE, *self.files})

    def flaws(self) -> Iterable[str]:
        """Its files that are missing, changed or not its own, a line for each."""
        count, own = self.about["blocks"], self.part
        again = f"run part {own.index + 1}/{own.of} again, with --overwrite"
        wanted = [f"{CERTIFICATE}-{block:06}.unit" for block in range(own.index, count, own.of)]
        names = {path.name for path in self.folder.iterdir()} - {PART_FILE}
        for name in sorted(names - self.files.keys()):
            yield f"{self.folder / name} is not of this part; remove it"
        for name in sorted({*wanted, *self.files} - names):
            yield f"{self.folder / name} is missing; {again}"
        for name, digest in self.files.items():
            path = self.folder / name
            if name in names and not (path.is_file() and _sha256(path) == digest):
                yield f"{path} is damaged: its SHA-256 is not the one in {PART_FILE}; {again}"


def fill_part(journal: Path, folder: Path, part: Part, asked: Mapping[str, Any]) -> None:
    """Write a finished part into ``folder``; its journal stays as it is. Raises OSError."""
    files: dict[str, str] = {}
    own = [path for path in journal.glob("*.unit") if int(path.stem.rpartition("-")[2]) % part.of == part.index]
    for path in [journal / ABOUT_FILE, *sorted(own)]:
        _copied(path, folder / path.name)
        files[path.name] = _sha256(path)
    document = {"format": FORMAT, "part": part.index + 1, "of": part.of, "asked": asked, "files": list(files.items())}
    (folder / PART_FILE).write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def _copied(path: Path, target: Path) -> None:
    try:
        os.link(path, target)  # points of many images are large
    except OSError:
        shutil.copyfile(path, target)


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def read_part(folder: Path) -> FinishedPart:
    """Raises ConfigError for what is no finished part."""
    try:
        found, about = (_document(folder / name) for name in (PART_FILE, ABOUT_FILE))
        return _part_of(folder, found, about)
    except OSError as error:
        raise ConfigError(
            f"{folder} is no finished part ({error.strerror or error}); give folders that --part has written"
        ) from error
    except CheckpointError as error:
        raise ConfigError(str(error)) from error
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        reason = printable(str(error), longest=100)
        raise ConfigError(f"{folder / PART_FILE} is not what --part has written: {reason}") from error


def _document(path: Path) -> dict[str, Any]:
    return dict(parse_document(read_regular(path, limit=_LARGEST), str(path)))


def _part_of(folder: Path, found: dict[str, Any], about: dict[str, Any]) -> FinishedPart:
    number, of, asked, files = (found[name] for name in ("part", "of", "asked", "files"))
    if found["format"] != FORMAT or not all(type(size) is int for size in (number, of, about["blocks"])):
        raise ValueError("its format or numbers")
    if not 1 <= number <= of or not 1 <= about["blocks"] <= _MOST_BLOCKS:
        raise ValueError("its numbers")
    if not all(is_plain_name(name) and isinstance(digest, str) for name, digest in files):
        raise ValueError("the names of its files")
    return FinishedPart(folder, Part(number - 1, of), about, dict[str, Any](asked), dict[str, str](files))


def together(folders: Sequence[Path]) -> tuple[list[FinishedPart], list[str]]:
    """The parts in order, and what keeps them from being one evaluation, a line for each flaw."""
    parts: dict[int, FinishedPart] = {}
    flaws: list[str] = []
    first: FinishedPart | None = None
    for folder in folders:
        try:
            found = read_part(folder)
        except ConfigError as error:
            flaws.append(str(error))
            continue
        first = first or found
        other = parts.get(found.part.index)
        differing = [name for name in first.about if found.about.get(name) != first.about[name]]
        if found.part.of != first.part.of:
            flaws.append(f"{folder} is one of {found.part.of} parts, {first.folder} one of {first.part.of}")
        elif differing:
            flaws.append(f"{folder} is of another evaluation than {first.folder}: they differ in {few(differing)}")
        elif other is not None:
            flaws.append(f"{folder} is part {found.part.index + 1}/{found.part.of}, as {other.folder} is; give it once")
        else:
            parts[found.part.index] = found
            flaws += found.flaws()
    if first is not None:
        missing = [index + 1 for index in range(first.part.of) if index not in parts]
        flaws += [f"part {number}/{first.part.of} is missing" for number in missing]
    return [parts[index] for index in sorted(parts)], flaws
