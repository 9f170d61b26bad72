"""What a bundle says about itself, read as a stranger's words: only what cannot be measured is ever taken from it."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from lip_plugin.errors import CheckpointError
from lip_plugin.evaluate import DatasetSummary
from lip_plugin.evaluate.results import Cost, Difference, Request, StageRecord
from lip_plugin.types import LARGEST_EPS
from lip_plugin.untrusted import is_plain_name, is_plain_text, parse_document, printable, read_regular

LARGEST_DOCUMENT = 2**30
_MOST_EPS = 64


def _plain(text: str) -> str:
    if not is_plain_text(text):
        raise ValueError("expected text without control characters")
    return text


def _plain_name(name: str) -> str:
    if not is_plain_name(name):
        raise ValueError("expected one printable line without path separators")
    return name


Text = Annotated[str, Field(max_length=1000), AfterValidator(_plain)]
Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(strict=True, ge=0)]
Seconds = Annotated[float, Field(ge=0)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class _Dataset(_Part):
    name: Annotated[str, AfterValidator(_plain_name)]  # it becomes a part of paths
    split: Text
    n: Annotated[int, Field(strict=True, ge=1)]
    source: Text


class _Eps(_Part):
    eps: Annotated[float, Field(ge=0, le=LARGEST_EPS)]
    empirical_robust_accuracy: dict[Text, Share]


class _Cost(_Part):
    certify_seconds: Seconds
    attack_seconds: Seconds
    attack_forwards: Count


class _Request(_Part):
    command: Annotated[str, Field(max_length=10_000), AfterValidator(_plain)]
    audit: Count | Literal["all"] | None
    batch_size: Annotated[int, Field(strict=True, ge=1)] | None


class _Audit(_Part):
    attacked_certified: Count


class _Difference(_Part):
    eps: float
    index: Count
    certificate_aware: Literal["wrong", "certified", "broken", "undecided"]
    full: Literal["wrong", "certified", "broken", "undecided"]


class _Stage(_Part):
    eps: float
    attack: Text
    images: Count
    broken: Count
    forwards: Count


class ReportClaim(_Part):
    """The parts of ``report.json`` that a verification needs: what was asked for, and what only a clock knew."""

    status: Literal["ok"]
    dataset: _Dataset
    arithmetic: Literal["real", "float64", "float32", "plain_float32"]
    attacks: Annotated[list[Text], Field(max_length=64)]
    skipped_certified: Annotated[bool, Field(strict=True)]
    eps: Annotated[list[_Eps], Field(min_length=1, max_length=_MOST_EPS)]
    audit: _Audit
    protocol_differences: list[_Difference]
    cost: _Cost
    environment: dict[Text, Text | Annotated[int, Field(strict=True)]]
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

    def dataset(self, count: int) -> DatasetSummary:
        of = self.report.dataset
        return DatasetSummary(of.name, of.split, count, of.source)

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
    except (ValueError, IndexError, csv.Error) as error:
        raise CheckpointError(f"{path} is not a table with the columns {', '.join(names)}: {error}") from error
    if not all(is_plain_text(cell) for column in found for cell in column):
        raise CheckpointError(f"{path}: text with control characters")
    return found
