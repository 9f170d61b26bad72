"""A row from ``report.json``, the schema "lip-report/1", which a stranger may have written."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from lip_plugin.leaderboard.entry import Certificate, Cost, Entry, Origin, Proved
from lip_plugin.leaderboard.fields import (
    Count,
    EpsNumber,
    Flag,
    Line,
    Named,
    Positive,
    Record,
    Share,
    read_record,
)
from lip_plugin.leaderboard.methods import certificate_of_bound
from lip_plugin.leaderboard.splits import images_in_test_split
from lip_plugin.types import OWN_IMAGES, format_eps
from lip_plugin.untrusted import parse_document, read_regular

_LARGEST_REPORT = 64 * 2**20


class _Model(Record):
    name: Named
    architecture: Line = ""
    params: Count
    digest: Line = ""


class _Dataset(Record):
    """Of images that no release has told by their digests, ``name`` is only a name."""

    name: Named
    n: Annotated[int, Field(strict=True, ge=1)]
    classes: Count = 0
    of: Count | None = None
    in_order: Flag = False
    of_classes: Count | None = None

    @property
    def is_official(self) -> bool:
        return self.of is not None and self.n <= self.of == images_in_test_split(self.name)

    @property
    def which(self) -> str:
        if not self.is_official:
            return f"{self.classes:,} classes"
        order = "in file order" if self.in_order else "sampled"
        return f"of {self.of:,}, {order}, {self.classes:,} of {self.of_classes:,} classes"


class _Lipschitz(Record):
    upper_bound: Positive
    method: Line
    lower_bound: Positive | None = None


class _Eps(Record):
    eps: EpsNumber
    verified_robust_accuracy: Share
    vra_interval95: tuple[Share, Share] | None = None
    empirical_robust_accuracy: dict[Named, Share] = Field(default_factory=dict, max_length=64)


class _Audit(Record):
    smallest_distance_over_radius: Positive | None = None


class _Cost(Record):
    certify_seconds: Positive
    attack_seconds: Positive
    attack_forwards: Count


class _Environment(Record):
    device: Line = ""


class ReportFigures(Record):
    """What the leaderboard reads of a report."""

    schema_: Literal["lip-report/1"] = Field(alias="schema")
    status: Literal["ok", "failed"]
    model: _Model
    dataset: _Dataset
    threat_model: Literal["L2"]
    lipschitz: _Lipschitz
    arithmetic: Line
    clean_accuracy: Share
    eps: Annotated[list[_Eps], Field(min_length=1, max_length=64)]
    audit: _Audit = _Audit()
    skipped_certified: Annotated[bool, Field(strict=True)]
    cost: _Cost
    environment: _Environment = _Environment()

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> ReportFigures:
        """A report that contradicts itself says so in its status; another one that does was not written by us."""
        grid = [result.eps for result in self.eps]
        if grid != sorted(set(grid)):
            raise ValueError("eps is not in ascending order")
        if self.status == "failed":
            return self
        highest = self.clean_accuracy
        for result in self.eps:
            eps, proved = format_eps(result.eps), result.verified_robust_accuracy
            if proved > highest:
                raise ValueError(f"verified_robust_accuracy {proved} at eps {eps} exceeds {highest}, its upper limit")
            for attack, share in result.empirical_robust_accuracy.items():
                if not proved <= share <= self.clean_accuracy:
                    raise ValueError(f"{attack} at eps {eps}: {share} is not between proved and clean accuracy")
            highest = proved
        return self


def read_report(path: Path) -> ReportFigures:
    """Raises CheckpointError, in one line that names file and field, and OSError where there is no file."""
    return read_record(ReportFigures, parse_document(read_regular(path, limit=_LARGEST_REPORT), str(path)), path)


def entry_from_report(report: ReportFigures, *, origin: Origin = Origin.REPORT) -> Entry:
    """The row of one report. A failed one keeps its figures and loses its certificate."""
    bound, cost, images = report.lipschitz, report.cost, report.dataset
    certificate = certificate_of_bound(bound.method, report.arithmetic, verified=origin is Origin.VERIFIED)
    return Entry(
        name=report.model.name,
        dataset=images.name if images.is_official else OWN_IMAGES,
        certificate=Certificate.CONTRADICTED if report.status == "failed" else certificate,
        method=bound.method,
        origin=origin,
        source="report.json",
        architecture=report.model.architecture,
        params=report.model.params,
        images=images.n,
        whole=images.is_official and images.n == images.of,
        which=images.which,
        clean=report.clean_accuracy,
        proved={result.eps: Proved(result.verified_robust_accuracy, result.vra_interval95) for result in report.eps},
        survived={
            result.eps: dict(result.empirical_robust_accuracy)
            for result in report.eps
            if result.empirical_robust_accuracy
        },
        skipped_certified=report.skipped_certified if _attacked(report) else None,
        distance_over_radius=report.audit.smallest_distance_over_radius,
        found_over_proved=_found_over_proved(bound.lower_bound, bound.upper_bound),
        cost=Cost(cost.certify_seconds, cost.attack_seconds, cost.attack_forwards, report.environment.device),
        arithmetic=report.arithmetic,
    )


def _attacked(report: ReportFigures) -> bool:
    return any(result.empirical_robust_accuracy for result in report.eps)


def _found_over_proved(lower: float | None, upper: float) -> float | None:
    return None if lower is None or upper == 0 else lower / upper
