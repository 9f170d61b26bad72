"""The findings of an evaluation from per-image values alone, without attacking anything again."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from torch import Tensor

from lip_plugin.certificates import wilson_interval95
from lip_plugin.evaluate.audit import audit_result, contradictions
from lip_plugin.evaluate.results import STATUSES, EpsResult, Report, Status


def statuses(correct: Tensor, radius: Tensor, distance: Tensor, eps: float) -> tuple[Status, ...]:
    """One of wrong, certified, broken, undecided per image.

    ``correct`` (N,) bool, ``radius`` (N,) as certified, ``distance`` (N,) of the closest adversarial point, infinite
    where there is none. A contradicted certificate certifies nothing.
    """
    certified = (radius > eps) & ~(distance < radius)
    broken = distance <= eps
    return tuple(
        "wrong" if not right else "certified" if sure else "broken" if hit else "undecided"
        for right, sure, hit in zip(correct.tolist(), certified.tolist(), broken.tolist(), strict=True)
    )


def restated(
    report: Report, distance: Tensor, attack: Sequence[str], program: Sequence[str], *, attacked_certified: int
) -> Report:
    """The report with other adversarial distances (N,) float64, and everything that follows from them.

    ``attack`` names who found each point, ``program`` which forward misclassifies it. What survives each single attack
    stays as it is: per-image distances are those of all attacks together. ``status`` is "failed" where a distance lies
    inside its image's own radius.
    """
    points = dataclasses.replace(report.points, distance=distance, attack=tuple(attack), program=tuple(program))
    radius = points.certificate.radius
    problems = contradictions(radius, points.refuting_distance, attack)
    status = {result.eps: statuses(points.correct, radius, distance, result.eps) for result in report.eps}
    return dataclasses.replace(
        report,
        status="failed" if problems else "ok",
        problems=problems,
        eps=tuple(_recounted(result, status[result.eps]) for result in report.eps),
        audit=audit_result(points, attacked_certified, len(problems)),
        points=dataclasses.replace(points, status=status),
    )


def _recounted(result: EpsResult, status: Sequence[Status]) -> EpsResult:
    counts = {name: sum(one == name for one in status) for name in STATUSES}
    certified, total = counts["certified"], len(status)
    return dataclasses.replace(
        result,
        verified_robust_accuracy=certified / total,
        vra_interval95=wilson_interval95(certified, total),
        counts=counts,
    )
