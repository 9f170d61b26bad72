"""The kinds of values that a report may hold. They are looked at where one is read, not where one is made."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, Field, TypeAdapter

from lip_plugin.types import LARGEST_EPS
from lip_plugin.untrusted import is_plain_name

MOST_EPS = 64
"""Radii of one report, as far as it is to be read."""

_LONGEST_LINE = 2000
_LARGEST_COUNT = 2**53  # of what JSON's readers agree on

Status = Literal["wrong", "certified", "broken", "undecided"]
STATUSES: tuple[Status, ...] = ("wrong", "certified", "broken", "undecided")
ProgramName = Literal["forward", "float64"]
"""``model(x)`` as it is, or the same operators in float64, which certificates are computed with."""
Arithmetic = Literal["real", "float64", "float32", "forward"]


def _line(text: str) -> str:
    if not text.isprintable():
        raise ValueError("expected one printable line")
    return text


def _plain_name(name: str) -> str:
    if not is_plain_name(name):
        raise ValueError("expected one printable line without path separators")
    return name


def _written(number: float) -> float:
    """-0.0 equals 0.0, and reads otherwise."""
    if math.copysign(1.0, number) < 0:
        raise ValueError("expected a number without a sign")
    return number


Line = Annotated[str, Field(max_length=_LONGEST_LINE), AfterValidator(_line)]
PlainName = Annotated[str, AfterValidator(_plain_name)]
Share = Annotated[float, Field(ge=0, le=1), AfterValidator(_written)]
Eps = Annotated[float, Field(ge=0, le=LARGEST_EPS), AfterValidator(_written)]
Positive = Annotated[float, Field(ge=0), AfterValidator(_written)]
Count = Annotated[int, Field(ge=0, le=_LARGEST_COUNT)]
AtLeastOne = Annotated[int, Field(ge=1, le=_LARGEST_COUNT)]
Device = Annotated[str, Field(pattern=r"^[a-z]{1,20}(:[0-9]{1,4})?$")]
_Library = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]{0,39}$")]
_Version = Annotated[str, Field(pattern=r"^[0-9][A-Za-z0-9.+!_-]{0,59}$")]
_LIBRARIES = TypeAdapter(dict[_Library, _Version])


class _Known(BaseModel):
    """What every environment has."""

    lip_plugin: _Version
    torch: _Version
    device: Device
    seed: Annotated[int, Field(strict=True, ge=0)]
    threads: Annotated[int, Field(strict=True, ge=1)]


def _environment(environment: dict[str, str | int]) -> dict[str, str | int]:
    """Beside what every environment has: other libraries, with their versions."""
    _Known.model_validate(environment)
    _LIBRARIES.validate_python({name: of for name, of in environment.items() if name not in _Known.model_fields})
    return environment


Environment = Annotated[dict[str, str | int], AfterValidator(_environment)]
