"""``points.csv`` as columns: one line per image."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from lip_plugin.errors import CheckpointError
from lip_plugin.schema.kinds import STATUSES
from lip_plugin.types import format_eps
from lip_plugin.untrusted import printable, read_regular

LARGEST_DOCUMENT = 2**26
"""Bytes: 50,000 images at 64 radii take less. What is parsed takes many times as much memory."""

_COLUMNS = ("label", "prediction", "margin", "radius", "adversarial_distance", "attack", "disagrees", "program")
_PROGRAMS = ("", "float64", "forward")
_LONGEST_NUMBER = 32
_LONGEST_COUNT = 15
T_ = TypeVar("T_")


@dataclass(frozen=True)
class PointsTable:
    """Per image, in file order.

    ``adversarial_distance`` is infinite, ``attack`` and ``program`` empty where no point was found. ``disagrees`` is 1
    where ``model(x)`` gives another label than the certificate, at the image or inside its radius; ``program`` is the
    forward that misclassifies the point; ``status``: eps -> one status per image.
    """

    label: tuple[int, ...]
    prediction: tuple[int, ...]
    margin: tuple[float, ...]
    radius: tuple[float, ...]
    adversarial_distance: tuple[float, ...]
    attack: tuple[str, ...]
    disagrees: tuple[int, ...]
    program: tuple[str, ...]
    status: Mapping[float, tuple[str, ...]]

    def __len__(self) -> int:
        return len(self.label)

    def columns(self) -> dict[str, tuple[Any, ...]]:
        """By their names in the file."""
        status = {f"status@{format_eps(eps)}": column for eps, column in self.status.items()}
        return {**{name: getattr(self, name) for name in _COLUMNS}, **status}


def points_text(table: PointsTable) -> str:
    """The file. Numbers are written so that they read back exactly; an infinite or missing one is empty."""
    columns = table.columns()
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["index", *columns])
    cells = [map(_cell, column) for column in columns.values()]
    writer.writerows(zip(range(len(table)), *cells, strict=True))
    return text.getvalue()


def _cell(value: Any) -> Any:
    if isinstance(value, float):
        return repr(value) if math.isfinite(value) else ""
    return value


def read_points(path: Path, eps: tuple[float, ...]) -> PointsTable:
    """A stranger's file about these radii. Raises CheckpointError, in one line, for another table; OSError."""
    content = read_regular(path, limit=LARGEST_DOCUMENT)
    expected = ["index", *_COLUMNS, *(f"status@{format_eps(one)}" for one in eps)]
    try:
        rows: list[list[str]] = []
        for row in csv.reader(io.StringIO(content.decode("utf-8"), newline=""), strict=True):
            if len(row) != len(expected) or (not rows and row != expected):  # before the next: millions may be empty
                raise ValueError(f"expected the columns {', '.join(expected)}")
            rows.append(row)
        read = dict(zip(expected, zip(*rows[1:], strict=True), strict=True))
        return PointsTable(
            label=_each(_count, read["label"]),
            prediction=_each(_count, read["prediction"]),
            margin=_each(_number, read["margin"]),
            radius=_each(_number, read["radius"]),
            adversarial_distance=_each(_number, read["adversarial_distance"]),
            attack=_each(_line, read["attack"]),
            disagrees=_each(_count, read["disagrees"]),
            program=_each(_one_of(_PROGRAMS), read["program"]),
            status={one: _each(_one_of(STATUSES), read[f"status@{format_eps(one)}"]) for one in eps},
        )
    except (ValueError, csv.Error) as error:  # of a line that is cut short, too
        raise CheckpointError(f"{path} is no table of points: {printable(str(error), longest=400)}") from error


def _each(kind: Callable[[str], T_], cells: tuple[str, ...]) -> tuple[T_, ...]:
    return tuple(map(kind, cells))


def _count(text: str) -> int:
    if len(text) > _LONGEST_COUNT or not (text.isascii() and text.isdecimal()):
        raise ValueError(f"'{text[:80]}' is no count")
    return int(text)


def _number(text: str) -> float:
    if len(text) > _LONGEST_NUMBER or not math.isfinite(number := float(text or 0)) or text == "-0.0":
        raise ValueError(f"'{text[:80]}' is no finite number")
    return number if text else math.inf


def _line(text: str) -> str:
    if not text.isprintable():
        raise ValueError("text with control characters")
    return text


def _one_of(words: tuple[str, ...]) -> Callable[[str], str]:
    def known(text: str) -> str:
        if text not in words:
            raise ValueError(f"'{text[:80]}'; expected one of {', '.join(map(repr, words))}")
        return text

    return known
