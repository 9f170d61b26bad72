"""Whether two documents say the same: words and integers exactly, other numbers up to the last digits of float64.

A certificate that is recomputed on another machine differs in its last digits: sums are taken in another order.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

from lip_plugin.untrusted import printable

TOLERANCE = 1e-9
"""Relative, and absolute below 1. Kernels of other machines move a margin by about 1e-13."""

_TOKEN = re.compile(r"[\w.+-]+")
_NUMBER = re.compile(r"-?\d{1,40}(?:\.\d{1,40})?(?:[eE][+-]?\d{1,4})?\.?")
_INTEGER = re.compile(r"-?\d+")
_LONGEST_SHOWN = 60
_CONTEXT = 20


@dataclass(frozen=True)
class Disagreement:
    """The first place at which two documents differ, in words; ``where`` is a line, or a JSON pointer."""

    where: str
    claimed: str
    measured: str


def numbers_agree(claimed: float, measured: float) -> bool:
    """False where one of them is NaN."""
    return claimed == measured or abs(claimed - measured) <= TOLERANCE * max(1.0, abs(measured))


def text_disagreements(claimed: str, measured: str) -> Iterator[Disagreement]:
    """Line by line."""
    lines = zip_longest(claimed.split("\n"), measured.split("\n"))
    for number, (ours, theirs) in enumerate(((b, a) for a, b in lines), start=1):
        if theirs is None or ours is None:
            yield Disagreement(f"line {number}", _shown(theirs), _shown(ours))
        elif theirs != ours and (difference := _line_difference(theirs, ours)):
            yield Disagreement(f"line {number}", *difference)


def table_disagreements(claimed: str, measured: str) -> Iterator[Disagreement]:
    """CSV with the same header, cell by cell. Raises csv.Error where it is none."""
    theirs, ours = (list(csv.reader(io.StringIO(text, newline=""))) for text in (claimed, measured))
    header = ours[0]
    if theirs[:1] != [header] or len(theirs) != len(ours):
        yield from text_disagreements(claimed, measured)
        return
    for number, (row, expected) in enumerate(zip(theirs[1:], ours[1:], strict=True)):
        if len(row) != len(header):
            yield Disagreement(f"row {number}", f"{len(row)} cells", f"{len(header)} cells")
            continue
        for column, cell, wanted in zip(header, row, expected, strict=True):
            if cell != wanted and (difference := _line_difference(cell, wanted)):
                yield Disagreement(f"row {number}, {printable(column, longest=40)}", *difference)


def json_disagreements(claimed: Any, measured: Any, pointer: str = "") -> Iterator[Disagreement]:
    """Value by value; an object may not have keys more or fewer."""
    if isinstance(claimed, dict) and isinstance(measured, dict):
        pairs = {name: (claimed.get(name, _MISSING), measured.get(name, _MISSING)) for name in {**claimed, **measured}}
        for name, (theirs, ours) in pairs.items():
            yield from json_disagreements(theirs, ours, f"{pointer}/{name}")
    elif isinstance(claimed, list) and isinstance(measured, list):
        for position, (theirs, ours) in enumerate(zip_longest(claimed, measured, fillvalue=_MISSING)):
            yield from json_disagreements(theirs, ours, f"{pointer}/{position}")
    elif not _values_agree(claimed, measured):
        yield Disagreement(printable(pointer, longest=120), _shown(claimed), _shown(measured))


class _Missing:
    def __str__(self) -> str:
        return "nothing"


_MISSING = _Missing()


def _values_agree(claimed: Any, measured: Any) -> bool:
    if isinstance(claimed, float) and isinstance(measured, float):
        return numbers_agree(claimed, measured)
    return type(claimed) is type(measured) and claimed == measured


def _line_difference(claimed: str, measured: str) -> tuple[str, str] | None:
    """The first differing numbers, or the lines where their words differ; None where the lines agree."""
    if _TOKEN.split(claimed) == _TOKEN.split(measured):
        for theirs, ours in zip(_TOKEN.findall(claimed), _TOKEN.findall(measured), strict=True):
            if theirs != ours and not _tokens_agree(theirs, ours):
                return _shown(theirs), _shown(ours)
        return None
    same = next((at for at, pair in enumerate(zip(claimed, measured, strict=False)) if pair[0] != pair[1]), 0)
    start = max(0, same - _CONTEXT)
    return _shown(claimed[start:]), _shown(measured[start:])


def _tokens_agree(claimed: str, measured: str) -> bool:
    """Two numbers, not both integers, that are one up to the tolerance."""
    numbers = _NUMBER.fullmatch(claimed) and _NUMBER.fullmatch(measured)
    if not numbers or _INTEGER.fullmatch(claimed) or _INTEGER.fullmatch(measured):
        return False
    return numbers_agree(float(claimed.rstrip(".")), float(measured.rstrip(".")))


def _shown(value: Any) -> str:
    if value is None or value == "":
        return "nothing"
    return printable(str(value), longest=_LONGEST_SHOWN)
