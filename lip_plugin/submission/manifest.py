"""``bundle.json``: what a bundle is about, and the sha256 of each of its files. Parsed strictly."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from lip_plugin.errors import CheckpointError
from lip_plugin.schema.kinds import AtLeastOne, PlainName, Sha256
from lip_plugin.schema.refusal import refusal
from lip_plugin.submission.layout import MANIFEST
from lip_plugin.untrusted import is_plain_name, open_regular, parse_document, printable, read_regular

_LARGEST_MANIFEST = 2**20
_MOST_FILES = 256
_DEEPEST = 6
_LARGEST_FILE = 2**36
_CHUNK = 2**20


def _inside(path: str) -> str:
    """A relative path that can only lead into the bundle, spelled in the one way that is compared."""
    parts = path.split("/")
    if len(parts) > _DEEPEST or not all(is_plain_name(part) for part in parts) or path == MANIFEST:
        raise ValueError("expected relative file names such as model/card.json")
    return path


FilePath = Annotated[str, AfterValidator(_inside)]


class FileRecord(BaseModel):
    """One file of a bundle."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    sha256: Sha256
    bytes: int = Field(strict=True, ge=0, le=_LARGEST_FILE)


class Manifest(BaseModel):
    """``files`` lists every file but the manifest itself; ``dataset`` and ``n`` are those of the images."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    schema_: Literal["lip-bundle/1"] = Field(alias="schema")
    name: PlainName
    board: PlainName
    dataset: PlainName
    n: AtLeastOne
    images_sha256: Sha256
    lip_plugin: PlainName
    files: dict[FilePath, FileRecord] = Field(max_length=_MOST_FILES)


def read_manifest(directory: Path) -> Manifest:
    """Raises CheckpointError, in one line, where there is no valid manifest."""
    path = directory / MANIFEST
    try:
        content = read_regular(path, limit=_LARGEST_MANIFEST)
    except OSError as error:
        raise CheckpointError(f"{directory} is not a bundle: {error.strerror or error} ({MANIFEST})") from error
    try:
        return Manifest.model_validate(parse_document(content, str(path)))
    except ValidationError as error:
        raise refusal(path, error, whole="the manifest") from error


def file_record(path: Path) -> FileRecord:
    """Of the file as it is, read piece by piece. Raises CheckpointError, OSError."""
    digest, size = hashlib.sha256(), 0
    with open_regular(path, limit=_LARGEST_FILE) as (file, _):
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            size += len(chunk)
    return FileRecord(sha256=digest.hexdigest(), bytes=size)


def file_records(directory: Path) -> dict[str, FileRecord]:
    """Of every file of `bundle_files`, as it is. Raises CheckpointError, OSError."""
    return {name: file_record(directory / name) for name in bundle_files(directory)}


def bundle_files(directory: Path) -> list[str]:
    """Every file but the manifest, sorted, relative to the bundle with ``/``.

    Raises CheckpointError for links, devices, empty folders and too many or too deep files: a bundle has none.
    Raises OSError.
    """
    found: list[str] = []
    for path in _walk(directory, depth=1):
        found.append(path.relative_to(directory).as_posix())
        if len(found) > _MOST_FILES + 1:
            raise CheckpointError(f"{directory} holds more than {_MOST_FILES} files; a bundle does not")
    return sorted(name for name in found if name != MANIFEST)


def _walk(directory: Path, depth: int) -> Iterator[Path]:
    if depth > _DEEPEST:
        raise CheckpointError(f"{printable(str(directory))} is nested too deep for a bundle")
    with os.scandir(directory) as entries:
        listed = list(entries)
    if not listed and depth > 1:
        raise CheckpointError(f"{printable(str(directory))} is an empty folder; a bundle has none")
    for entry in listed:
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(Path(entry.path), depth + 1)
        elif entry.is_file(follow_symlinks=False):
            yield Path(entry.path)
        else:
            raise CheckpointError(f"{printable(entry.path)} is a link or no regular file; a bundle has none")
