"""What a bundle says about itself, read as a stranger's words; only what cannot be measured is ever taken from it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from lip_plugin.evaluate import Report
from lip_plugin.schema import PointsTable, ReportValues
from lip_plugin.schema.consistency import AUDIT
from lip_plugin.submission.layout import POINTS, REPORT_JSON
from lip_plugin.verification.checks import Check, check

TRUSTED = (
    "names of attacks, and which of them found a point",
    "that the attacks ran as described (seed, stages, forwards, audit) and found nothing more",
    "seconds, versions and the device",
    "what own images are called, which files they were and a part of how many, beyond their sha256",
    "what the model is called",
    "what the card says in words and of training and other evaluations",
)
"""What only attacking again, or asking whoever made the bundle, could tell; taken from the claim."""


@dataclass(frozen=True)
class Claims:
    """The values of ``report.json``, which fit each other, and of ``points.csv``."""

    report: ReportValues
    points: PointsTable


def trust_checks(claims: Claims, report: Report) -> Iterator[Check]:
    """What cannot be measured, held against what can. Failures only; ``report`` is the measured one."""
    claim = claims.report
    if not claim.attacks and report.points.distance.isfinite().any():
        yield check(REPORT_JSON, "attacks", "none", "adversarial points", agrees=False)
    for one in claim.protocol_differences:
        measured = report.points.status[one.eps][one.index]
        if measured != one.full:
            yield check(REPORT_JSON, f"protocol difference, image {one.index}", one.full, measured, agrees=False)
    names = {stage.attack.removeprefix(AUDIT) for stage in claim.stages} | {""}
    for index, attack in enumerate(claims.points.attack):
        if attack not in names:
            yield check(POINTS, f"row {index}, attack", attack, "no stage of that name", agrees=False)
            break
