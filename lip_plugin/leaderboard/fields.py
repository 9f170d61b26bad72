"""The kinds of values that a stranger's document may hold, and the one line that refuses another."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from lip_plugin.errors import CheckpointError, ConfigError
from lip_plugin.types import LARGEST_EPS, parse_eps
from lip_plugin.untrusted import printable

_LONGEST_LINE = 300
_MOST_EPS = 64


def _one_line(text: str) -> str:
    if len(text) > _LONGEST_LINE or not text.isprintable():
        raise ValueError(f"expected one printable line of at most {_LONGEST_LINE} characters")
    return text


def _eps_text(text: str) -> str:
    try:
        parse_eps(text)
    except ConfigError as error:
        raise ValueError(str(error)) from error
    return text


def is_web_address(text: str) -> bool:
    """Whether a page may link to it."""
    return text.startswith("https://") and text.isprintable() and not set(" \"'<>|\\") & set(text)


def _web_address(text: str) -> str:
    if not is_web_address(text):
        raise ValueError("expected an address that starts with https://")
    return text


Line = Annotated[str, Field(strict=True), AfterValidator(_one_line)]
Named = Annotated[Line, Field(min_length=1)]
WebAddress = Annotated[Line, AfterValidator(_web_address)]
Share = Annotated[float, Field(strict=True, ge=0, le=1)]
Percent = Annotated[float, Field(strict=True, ge=0, le=100)]
Positive = Annotated[float, Field(strict=True, ge=0)]
Count = Annotated[int, Field(strict=True, ge=0)]
EpsNumber = Annotated[float, Field(strict=True, ge=0, le=LARGEST_EPS)]
EpsText = Annotated[Named, AfterValidator(_eps_text)]
PercentByEps = Annotated[dict[EpsText, Percent], Field(max_length=_MOST_EPS)]
SurvivedByEps = Annotated[dict[EpsText, dict[Named, Percent]], Field(max_length=_MOST_EPS)]
Flag = Annotated[bool, Field(strict=True)]


class Record(BaseModel):
    """A part of a document of which only these fields are read."""

    model_config = ConfigDict(extra="ignore", frozen=True, allow_inf_nan=False)


Record_ = TypeVar("Record_", bound=BaseModel)


def read_record(kind: type[Record_], document: Any, where: str | Path) -> Record_:
    """The document as a ``kind``. Raises CheckpointError in one line that names the file and the field."""
    try:
        return kind.model_validate(document)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        field = printable(".".join(map(str, problem["loc"])) or "the document", longest=200)
        raise CheckpointError(f"{where}: {field}: {problem['msg']}") from error


def share_of_percent(percent: float) -> float:
    """The double nearest to the decimal: 74.11 gives 0.7411."""
    return float(Decimal(repr(percent)).scaleb(-2))


def shares_by_eps(percents: Mapping[str, float]) -> dict[float, float]:
    """Radius -> share."""
    return {parse_eps(eps): share_of_percent(percent) for eps, percent in percents.items()}


def survived_shares(percents: Mapping[str, Mapping[str, float]]) -> dict[float, dict[str, float]]:
    """Radius -> attack -> share."""
    return {
        parse_eps(eps): {attack: share_of_percent(percent) for attack, percent in found.items()}
        for eps, found in percents.items()
    }
