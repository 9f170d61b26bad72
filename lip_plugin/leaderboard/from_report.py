"""A row from ``report.json``, which a stranger may have written."""

from __future__ import annotations

from lip_plugin.leaderboard.entry import Certificate, Cost, Entry, Origin, Proved
from lip_plugin.leaderboard.methods import certificate_of_bound
from lip_plugin.leaderboard.splits import told
from lip_plugin.schema import ReportValues


def entry_from_report(report: ReportValues, *, origin: Origin = Origin.REPORT) -> Entry:
    """The row of one report. A failed one keeps its figures and loses its certificate."""
    bound, cost, images = report.lipschitz, report.cost, told(report.dataset)
    certificate = certificate_of_bound(bound.method, report.arithmetic, verified=origin is Origin.VERIFIED)
    return Entry(
        name=report.model.name,
        dataset=images.name,
        certificate=Certificate.CONTRADICTED if report.status == "failed" else certificate,
        method=bound.method,
        origin=origin,
        source="report.json",
        architecture=report.model.architecture,
        params=report.model.params,
        images=images.n,
        whole=images.is_whole,
        which=images.in_words,
        clean=report.clean_accuracy,
        proved={result.eps: Proved(result.verified_robust_accuracy, result.vra_interval95) for result in report.eps},
        survived={result.eps: result.empirical_robust_accuracy for result in report.eps if report.attacks},
        skipped_certified=report.skipped_certified if report.attacks else None,
        distance_over_radius=report.audit.smallest_distance_over_radius,
        found_over_proved=_found_over_proved(bound.lower_bound, bound.upper_bound),
        cost=Cost(cost.certify_seconds, cost.attack_seconds, cost.attack_forwards, str(report.environment["device"])),
        arithmetic=report.arithmetic,
    )


def _found_over_proved(lower: float | None, upper: float) -> float | None:
    return None if lower is None or upper == 0 else lower / upper
