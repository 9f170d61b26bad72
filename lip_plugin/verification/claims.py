"""What a bundle says about itself, read as a stranger's words: only what cannot be measured is ever taken from it."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from lip_plugin.errors import CheckpointError
from lip_plugin.evaluate.results import Cost, Difference, Request, StageRecord
from lip_plugin.types import LARGEST_EPS
from lip_plugin.untrusted import is_plain_name, is_plain_text, parse_document, printable, read_regular

LARGEST_DOCUMENT = 2**26
"""Bytes: 50,000 images at 64 radii take less. What is parsed takes many times as much memory."""
_MOST_EPS = 64


def _plain(text: str) -> str:
    if not is_plain_text(text):
        raise ValueError("expected text without control characters")
    return text


def _plain_name(name: str) -> str:
    if not is_plain_name(name):
        raise ValueError("expected one printable line without path separators")
    return name


def _line(text: str) -> str:
    if not text.isprintable():
        raise ValueError("expected one printable line")
    return text


Line = Annotated[str, Field(max_length=300), AfterValidator(_line)]
Eps = Annotated[float, Field(ge=0, le=LARGEST_EPS)]
Library = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]{0,39}$")]
Version = Annotated[str, Field(pattern=r"^[0-9][A-Za-z0-9.+!_-]{0,59}$")]
_LIBRARIES = TypeAdapter(dict[Library, Version])
Device = Annotated[str, Field(pattern=r"^[a-z]{1,20}(:[0-9]{1,4})?$")]
Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(strict=True, ge=0)]
Seconds = Annotated[float, Field(ge=0)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class _Dataset(_Part):
    name: Annotated[str, AfterValidator(_plain_name)]  # it becomes a part of paths
    split: Line
    n: Annotated[int, Field(strict=True, ge=1)]
    source: Line


class _Eps(_Part):
    eps: Eps
    empirical_robust_accuracy: dict[Line, Share]


def _ascending(grid: list[_Eps]) -> list[_Eps]:
    if any(second.eps <= first.eps for first, second in pairwise(grid)):
        raise ValueError("expected ascending radii")
    return grid


class _Cost(_Part):
    certify_seconds: Seconds
    attack_seconds: Seconds
    attack_forwards: Count


class _Request(_Part):
    command: Annotated[str, Field(max_length=10_000), AfterValidator(_plain)]
    audit: Count | Literal["all"] | None
    batch_size: Annotated[int, Field(strict=True, ge=1, le=2**20)] | None


class _Audit(_Part):
    attacked_certified: Count


class _Difference(_Part):
    eps: Eps
    index: Count
    certificate_aware: Literal["wrong", "certified", "broken", "undecided"]
    full: Literal["wrong", "certified", "broken", "undecided"]


class _Named(_Part):
    """What every environment has."""

    lip_plugin: Version
    torch: Version
    device: Device
    seed: Annotated[int, Field(strict=True, ge=0)]
    threads: Annotated[int, Field(strict=True, ge=1)]


def _environment(environment: dict[str, str | int]) -> dict[str, str | int]:
    """Beside what every environment has: other libraries, with their versions."""
    _Named.model_validate(environment)
    _LIBRARIES.validate_python({name: of for name, of in environment.items() if name not in _Named.model_fields})
    return environment


class _Stage(_Part):
    eps: Eps
    attack: Line
    images: Count
    broken: Count
    forwards: Count
    program: Literal["forward", "float64"]


class ReportClaim(_Part):
    """The parts of ``report.json`` that a verification needs: what was asked for, and what only a clock knew."""

    status: Literal["ok"]
    dataset: _Dataset
    arithmetic: Literal["real", "float64", "float32", "forward"]
    attacks: Annotated[list[Line], Field(max_length=64)]
    skipped_certified: Annotated[bool, Field(strict=True)]
    eps: Annotated[list[_Eps], Field(min_length=1, max_length=_MOST_EPS), AfterValidator(_ascending)]
    audit: _Audit
    protocol_differences: list[_Difference]
    cost: _Cost
    environment: Annotated[dict[str, str | int], AfterValidator(_environment)]
    request: _Request
    stages: list[_Stage]


@dataclass(frozen=True)
class Claims:
    """A parsed ``report.json``, the same as plain JSON, and what ``points.csv`` says found each image's point."""

    report: ReportClaim
    document: dict[str, Any]
    attack: tuple[str, ...]
    distance: tuple[str, ...]

    @property
    def eps(self) -> tuple[float, ...]:
        return tuple(result.eps for result in self.report.eps)

    @property
    def survives(self) -> tuple[dict[str, float], ...]:
        """Per eps: attack -> share of all images that it left standing."""
        return tuple(result.empirical_robust_accuracy for result in self.report.eps)

    @property
    def environment(self) -> dict[str, str | int]:
        return dict(self.report.environment)

    def cost(self) -> Cost:
        return Cost(**self.report.cost.model_dump())

    def request(self) -> Request | None:
        of = self.report.request
        audit = of.audit if isinstance(of.audit, int) else None  # None: all of them
        return None if of.batch_size is None else Request(audit, of.batch_size)

    def stages(self) -> tuple[StageRecord, ...]:
        return tuple(StageRecord(**one.model_dump()) for one in self.report.stages)

    def differences(self) -> tuple[Difference, ...]:
        return tuple(Difference(**one.model_dump()) for one in self.report.protocol_differences)


def read_claims(report: Path, points: Path) -> Claims:
    """Raises CheckpointError, in one line, where they are no report; OSError where a file is missing."""
    document = parse_document(read_regular(report, limit=LARGEST_DOCUMENT), str(report))
    try:
        claim = ReportClaim.model_validate(document)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        where = "/".join(map(str, problem["loc"])) or "the document"
        raise CheckpointError(f"{report}: {printable(where, longest=200)}: {problem['msg']}") from error
    columns = _columns(points, ("attack", "adversarial_distance"))
    return Claims(claim, document, *columns)


def _columns(path: Path, names: tuple[str, ...]) -> tuple[tuple[str, ...], ...]:
    content = read_regular(path, limit=LARGEST_DOCUMENT)
    try:
        rows = list(csv.reader(io.StringIO(content.decode("utf-8"), newline=""), strict=True))
        header = rows[0]
        found = tuple(tuple(row[header.index(name)] for row in rows[1:]) for name in names)
    except (ValueError, IndexError, csv.Error) as error:  # of a line that is cut short, too
        raise CheckpointError(f"{path} is not a table with the columns {', '.join(names)}: {error}") from error
    if not all(is_plain_text(cell) for column in found for cell in column):
        raise CheckpointError(f"{path}: text with control characters")
    return found
