"""Which number a class has: by ``classes.txt`` where there is one, else by the names of the folders."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from lip_plugin.data.imagenet_names import in_english
from lip_plugin.errors import DataError
from lip_plugin.schema.report import DataManifest
from lip_plugin.untrusted import few, printable

logger = logging.getLogger(__name__)

CLASS_FILE = "classes.txt"


@dataclass(frozen=True)
class Classes:
    """The classes in the order of their numbers, and in words where that order comes from."""

    names: tuple[str, ...]
    origin: str

    def __len__(self) -> int:
        return len(self.names)

    def number(self, word: str) -> int | None:
        """Of the class that is called so, or whose name begins with this word; None where there is none.

        Raises DataError where there are several.
        """
        found = self._numbers.get(word, [])
        if len(found) > 1:
            listed = ", ".join(map(str, found))
            raise DataError(
                f"{printable(repr(word))} is the name of classes {listed} ({self.origin}); give each its own"
            )
        return found[0] if found else None

    def manifest(self, taken: int, left_out: Mapping[str, int]) -> DataManifest:
        """Of so many pictures in these classes; ``left_out``: files that were passed over, by reason."""
        names = tuple(printable(name, longest=200) for name in self.names)
        return DataManifest(taken, {why: count for why, count in left_out.items() if count}, names, self.origin)

    @cached_property
    def _numbers(self) -> dict[str, list[int]]:
        by_name: dict[str, list[int]] = {}
        by_word: dict[str, list[int]] = {}
        for number, name in enumerate(self.names):
            by_name.setdefault(name, []).append(number)
            by_word.setdefault((name.split() or [name])[0], []).append(number)  # a folder may be called " "
        return by_word | by_name


def read_class_names(path: Path) -> tuple[str, ...]:
    """Every line that is not blank; the place is the class number. Raises DataError."""
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read the class list {path}: {getattr(error, 'strerror', None) or error}") from error
    names = tuple(line for line in lines if line)
    if not names:
        raise DataError(f"the class list {path} is empty; expected one class per line")
    return names


def listed_classes(*folders: Path) -> Classes | None:
    """Of the first folder that has a ``classes.txt``; None without one. Raises DataError."""
    for folder in folders:
        if (folder / CLASS_FILE).is_file():
            return Classes(read_class_names(folder / CLASS_FILE), CLASS_FILE)
    return None


def classes_of_folders(names: Sequence[str]) -> Classes:
    """In the order of their text, as torchvision's ImageFolder; where that is not the order of numbers, says so.

    Those of ImageNet get their names, see `in_english`.
    """
    ordered = sorted(names)
    if all(name.isdecimal() for name in ordered) and ordered != sorted(ordered, key=int):
        place, name = next((place, name) for place, name in enumerate(ordered) if place != int(name))
        logger.warning(
            "the class folders are numbered in the order of their text (%s): folder %s is class %d; "
            "a %s with one folder a line, in the order you mean, settles it",
            few(ordered),
            name,
            place,
            CLASS_FILE,
        )
    return Classes(in_english(ordered), "folder names in the order of their text")
