"""What cannot be measured again, held against what can: a claim that is taken on trust must at least fit the rest."""

from __future__ import annotations

from collections.abc import Iterator

from lip_plugin.evaluate import Report
from lip_plugin.submission.layout import REPORT
from lip_plugin.verification.checks import Check, check
from lip_plugin.verification.claims import Claims
from lip_plugin.verification.headlines import REPORT_JSON

TRUSTED = (
    "names of attacks, and which of them found a point",
    "that the attacks ran as described (seed, stages, forwards, audit) and found nothing more",
    "seconds, versions and the device",
    "what own images are called, beyond their sha256",
    "the lines of drawings, and what the card says in words and of training and other evaluations",
)
"""What only attacking again, or asking whoever made the bundle, could tell; taken from the claim."""

_AUDIT = "audit "


def trust_checks(claims: Claims, report: Report) -> Iterator[Check]:
    """Failures only. ``report`` is the measured one."""
    yield from _stage_checks(claims, report.dataset.n)
    claim = claims.report
    most = report.dataset.n * len(claims.eps)
    if claim.audit.attacked_certified > most:
        found = claim.audit.attacked_certified
        yield check(REPORT_JSON, "certified points attacked", found, f"{most} at most", agrees=False)
    if not claim.attacks and report.points.distance.isfinite().any():
        yield check(REPORT_JSON, "attacks", "none", "adversarial points", agrees=False)
    for one in claim.protocol_differences:
        status = report.points.status.get(one.eps, ())
        measured = status[one.index] if one.index < len(status) else "no such image or eps"
        if measured != one.full:
            yield check(REPORT_JSON, f"protocol difference, image {one.index}", one.full, measured, agrees=False)
    names = {stage.attack.removeprefix(_AUDIT) for stage in claim.stages} | {""}
    for index, attack in enumerate(claims.attack):
        if attack not in names:
            yield check(f"{REPORT}/points.csv", f"row {index}, attack", attack, "no stage of that name", agrees=False)
            break


def _stage_checks(claims: Claims, images: int) -> Iterator[Check]:
    for position, stage in enumerate(claims.report.stages):
        what = f"/stages/{position}"
        if stage.eps not in claims.eps:
            yield check(REPORT_JSON, f"{what}/eps", stage.eps, "no eps of the report", agrees=False)
        if not stage.broken <= stage.images <= images:
            claimed = f"{stage.broken} of {stage.images}"
            yield check(REPORT_JSON, what, claimed, f"at most {images} images", agrees=False)
    forwards = sum(stage.forwards for stage in claims.report.stages)
    if forwards != claims.report.cost.attack_forwards:
        yield check(REPORT_JSON, "attack_forwards", claims.report.cost.attack_forwards, f"{forwards} in all stages")
