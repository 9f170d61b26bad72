"""Pictures named by a list of lines ``path label``, as ImageNet's flat validation folder needs one."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path, PurePosixPath

from lip_plugin.data.classes import Classes
from lip_plugin.data.folders import PictureFolder, labelled_files, left_out_as
from lip_plugin.errors import DataError
from lip_plugin.untrusted import few, printable

_MOST_CLASSES = 1_000_000
_LONGEST_NUMBER = 8
_SHOWN = 80


def read_list(path: Path, root: Path, classes: Classes | None = None) -> PictureFolder:
    """The pictures that the lines of ``path`` name below ``root``, in that order.

    A label is what follows the last space or tab: a class number from 0, or the name of one of ``classes``. Without
    ``classes`` they are "0" to the largest number. Pictures in ``root`` itself that no line names are counted in the
    manifest. Raises DataError for a line of another form, and for a path that is not there, twice or outside ``root``.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read the list {path}: {getattr(error, 'strerror', None) or error}") from error
    rows = [(f"{path}, line {place}", line) for place, line in enumerate(lines, 1) if line.strip()]
    if not rows:
        raise DataError(f"the list {path} is empty; expected lines 'path label'")
    files = [_path(where, line, root) for where, line in rows]
    if repeated := [name for name, count in Counter(files).items() if count > 1]:
        raise DataError(f"{path} names {few(repeated)} more than once; expected each picture once")
    labels = [_label(where, line, classes) for where, line in rows]
    classes = classes or Classes(tuple(map(str, range(max(labels) + 1))), f"the numbers in {path.name}")
    return labelled_files(root, files, labels, classes, _unnamed(root, set(files), path))


def _path(where: str, line: str, root: Path) -> str:
    name = line.strip().rsplit(None, 1)[0]
    if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
        raise DataError(f"{where}: {_shown(name)} leads out of {root}; expected a path below it")
    if not (root / name).is_file():
        raise DataError(f"{where}: no file {_shown(name)} in {root}; expected 'path label'")
    return name


def _label(where: str, line: str, classes: Classes | None) -> int:
    word = line.strip().rsplit(None, 1)[-1]
    named = None if classes is None else classes.number(word)
    counted = int(word) if word.isascii() and word.isdecimal() and len(word) < _LONGEST_NUMBER else None
    if named is not None and counted is not None and named != counted:
        raise DataError(f"{where}: {_shown(word)} is the name of class {named}; write numbers, or rename the class")
    number = counted if named is None else named
    largest = _MOST_CLASSES if classes is None else len(classes)
    if number is None or number >= largest:
        expected = "a class number from 0" if classes is None else f"0 to {largest - 1}, or one of {few(classes.names)}"
        raise DataError(f"{where}: label {_shown(word)}; expected {expected}")
    return number


def _unnamed(root: Path, named: set[str], path: Path) -> Counter[str]:
    """Files that lie in ``root`` itself beside those of the list."""
    names = {entry.name for entry in os.scandir(root) if entry.is_file()} - named - {path.name}
    return Counter(left_out_as(name) or f"not in {printable(path.name)}" for name in sorted(names))


def _shown(text: str) -> str:
    return printable(repr(text), longest=_SHOWN)
