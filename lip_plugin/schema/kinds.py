"""The kinds of values that documents may hold: reports, cards, manifests. Looked at where one is read, strictly."""

from __future__ import annotations

import math
from typing import Annotated, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, FailFast, Field, TypeAdapter

from lip_plugin.errors import ConfigError
from lip_plugin.types import LARGEST_EPS, parse_eps
from lip_plugin.untrusted import is_plain_name, is_plain_text

MOST_EPS = 64
"""Radii of one report, as far as it is to be read."""

_LONGEST_LINE = 2000
_LARGEST_COUNT = 2**53  # of what JSON's readers agree on
T_ = TypeVar("T_")

Status = Literal["wrong", "certified", "broken", "undecided"]
STATUSES: tuple[Status, ...] = ("wrong", "certified", "broken", "undecided")
ProgramName = Literal["forward", "float64"]
"""``model(x)`` as it is, or the same operators in float64, which certificates are computed with."""
Arithmetic = Literal["real", "float64", "float32", "forward"]
StatedCertificate = Literal["proved by others", "by construction", "estimated", "probabilistic", "not stated"]
"""What others' figures can be called: what was proved here, or refuted, no document can say."""


def _line(text: str) -> str:
    if not text.isprintable():
        raise ValueError("expected one printable line")
    return text


def _plain_name(name: str) -> str:
    if not is_plain_name(name):
        raise ValueError("expected one printable line of at most 200 characters without path separators")
    return name


def _plain_text(text: str) -> str:
    if not is_plain_text(text):
        raise ValueError("expected text without control characters")
    return text


def is_web_address(text: str) -> bool:
    """Whether a page may link to it."""
    return text.startswith("https://") and text.isprintable() and not set(" \"'<>|\\") & set(text)


def _web_address(text: str) -> str:
    if not is_web_address(text):
        raise ValueError("expected an address that starts with https://")
    return text


def _eps_text(text: str) -> str:
    try:
        parse_eps(text)
    except ConfigError as error:
        raise ValueError(str(error)) from error
    return text


def _written(number: float) -> float:
    """-0.0 equals 0.0, and reads otherwise."""
    if math.copysign(1.0, number) < 0:
        raise ValueError("expected a number without a sign")
    return number


Several = Annotated[tuple[T_, ...], FailFast()]
"""Read to the first that is wrong: a list of all that are takes 100 times the file, and nothing can stop it then."""

Line = Annotated[str, Field(strict=True, max_length=_LONGEST_LINE), AfterValidator(_line)]
Named = Annotated[Line, Field(min_length=1)]
PlainName = Annotated[str, Field(strict=True), AfterValidator(_plain_name)]
Text = Annotated[str, Field(strict=True), AfterValidator(_plain_text)]
WebAddress = Annotated[Line, AfterValidator(_web_address)]
Flag = Annotated[bool, Field(strict=True)]
Share = Annotated[float, Field(strict=True, ge=0, le=1), AfterValidator(_written)]
Percent = Annotated[float, Field(strict=True, ge=0, le=100), AfterValidator(_written)]
Eps = Annotated[float, Field(strict=True, ge=0, le=LARGEST_EPS), AfterValidator(_written)]
EpsText = Annotated[Named, AfterValidator(_eps_text)]
Positive = Annotated[float, Field(strict=True, ge=0), AfterValidator(_written)]
Count = Annotated[int, Field(strict=True, ge=0, le=_LARGEST_COUNT)]
Size = Annotated[int, Field(strict=True, ge=1)]
AtLeastOne = Annotated[Size, Field(le=_LARGEST_COUNT)]
Sha256 = Annotated[str, Field(strict=True, pattern="^[0-9a-f]{64}$")]
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
