"""Whether claimed values are the measured ones: words and integers exactly, other numbers up to their last digits.

A certificate that is recomputed on another machine differs in its last digits: sums are taken in another order.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

from lip_plugin.schema import PointsTable

TOLERANCE = 1e-9
"""Relative, so that 0 equals only 0."""

POINT_TOLERANCE = 1e-7
"""Of one image, relative. Kernels of other machines move a margin by about 1e-13, and the smallest ones are 1e-6."""

_UPPER_BOUND = "upper_bound"


@dataclass(frozen=True)
class Disagreement:
    """A place at which two documents differ, in words; ``where`` is a JSON pointer, or a row and a column."""

    where: str
    claimed: str
    measured: str


def numbers_agree(claimed: float, measured: float, tolerance: float = TOLERANCE) -> bool:
    """False where one of them is NaN, or 0 alone."""
    return claimed == measured or abs(claimed - measured) <= tolerance * min(abs(claimed), abs(measured))


def bounds_agree(claimed: float, proved: float) -> bool:
    """Numbers that agree, of which the claimed one is not below the proved one: it would not be proved."""
    return claimed >= proved and numbers_agree(claimed, proved)


def json_disagreements(claimed: Any, measured: Any, pointer: str = "") -> Iterator[Disagreement]:
    """Value by value; an object may not have keys more or fewer."""
    if isinstance(claimed, dict) and isinstance(measured, dict):
        pairs = {name: (claimed.get(name, _MISSING), measured.get(name, _MISSING)) for name in {**claimed, **measured}}
        for name, (theirs, ours) in pairs.items():
            yield from json_disagreements(theirs, ours, f"{pointer}/{name}")
    elif isinstance(claimed, list) and isinstance(measured, list):
        for position, (theirs, ours) in enumerate(zip_longest(claimed, measured, fillvalue=_MISSING)):
            yield from json_disagreements(theirs, ours, f"{pointer}/{position}")
    elif not _values_agree(claimed, measured, is_bound=pointer.endswith(f"/{_UPPER_BOUND}")):
        yield Disagreement(pointer, str(claimed), str(measured))


def table_disagreements(claimed: PointsTable, measured: PointsTable) -> Iterator[Disagreement]:
    """Image by image, column by column. Both have the same images and radii."""
    theirs, ours = claimed.columns(), measured.columns()
    for row, pair in enumerate(zip(zip(*theirs.values(), strict=True), zip(*ours.values(), strict=True), strict=True)):
        for column, cell, expected in zip(theirs, *pair, strict=True):
            is_number = isinstance(expected, float)
            if not (numbers_agree(cell, expected, POINT_TOLERANCE) if is_number else cell == expected):
                yield Disagreement(f"row {row}, {column}", str(cell), str(expected))


class _Missing:
    def __str__(self) -> str:
        return "nothing"


_MISSING = _Missing()


def _values_agree(claimed: Any, measured: Any, *, is_bound: bool) -> bool:
    if isinstance(claimed, float) and isinstance(measured, float):
        return bounds_agree(claimed, measured) if is_bound else numbers_agree(claimed, measured)
    return type(claimed) is type(measured) and claimed == measured
