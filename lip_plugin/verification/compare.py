"""The claimed values against the measured ones: what people quote figure by figure, then every other value."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from itertools import islice

from lip_plugin.certificates import bounds_of, lipschitz_upper_bound
from lip_plugin.evaluate import Report
from lip_plugin.report.document import points_table, report_values
from lip_plugin.schema import PointsTable, ReportValues, report_json
from lip_plugin.schema.consistency import AUDIT
from lip_plugin.submission.boards.registry import get_board
from lip_plugin.submission.layout import MANIFEST, PERTURBATIONS, POINTS, REPORT_JSON, state_dict_file
from lip_plugin.submission.submission import Submission
from lip_plugin.types import format_eps
from lip_plugin.verification.agreement import (
    Disagreement,
    bounds_agree,
    json_disagreements,
    numbers_agree,
    table_disagreements,
)
from lip_plugin.verification.bundle import Bundle
from lip_plugin.verification.checks import Check
from lip_plugin.verification.measured import Measured
from lip_plugin.verification.points import TriedPoints

_SHOWN = 3
_SHOWN_POINTS = 5


def weight_checks(bundle: Bundle) -> Iterator[Check]:
    """What follows from the weights alone. Raises LipPluginError for a network that has no proof."""
    manifest, report, model = bundle.manifest, bundle.claimed.report, bundle.claimed.model
    yield Check(MANIFEST, "name", manifest.name, bundle.claimed.card.name)
    yield Check(MANIFEST, "data set", manifest.dataset, report.dataset.name)
    yield Check(MANIFEST, "lip-plugin", manifest.lip_plugin, report.environment["lip_plugin"])
    yield Check(REPORT_JSON, "network (digest)", report.model.digest, model.digest)
    with bounds_of(report.lipschitz.effort):
        claimed, proved = report.lipschitz.upper_bound, lipschitz_upper_bound(model).value
    shown = (f"{bound:.13g}" for bound in (claimed, proved))
    yield Check(REPORT_JSON, "Lipschitz upper bound", *shown, agrees=bounds_agree(claimed, proved))


def value_checks(claimed: Submission, measured: Measured) -> Iterator[Check]:
    """Everything that needs the images."""
    report, points = claimed.report, claimed.points
    yield from _point_checks(measured.tried, report, points)
    status = measured.report.status
    yield Check(REPORT_JSON, "status", report.status, status, agrees=status == "ok")
    what = f"labels of {len(points)} images in plain torch"
    others = f"{len(measured.others)} others" if measured.others else "as certified"
    yield Check(state_dict_file(claimed.card.name), what, "as certified", others)
    yield from _figure_checks(report, points, measured.report)
    yield from _trust_checks(report, points, measured.report)
    for refusal in get_board(claimed.board).refusals_after(claimed):
        yield Check(MANIFEST, f"board {claimed.board}, {refusal.rule}", refusal.expected, refusal.found, agrees=False)


def _point_checks(tried: TriedPoints, report: ReportValues, points: PointsTable) -> Iterator[Check]:
    """The first few adversarial points that are not what is claimed, then how many are."""
    distances = points.adversarial_distance
    wrong = list(_wrong_points(tried, report.eps[-1].eps, distances))
    yield from wrong[:_SHOWN_POINTS]
    indices = set(tried.index.tolist())
    claimed = [at for at, distance in enumerate(distances) if math.isfinite(distance)]
    for at in islice((at for at in claimed if at not in indices), _SHOWN_POINTS):
        yield Check(PERTURBATIONS, f"point of image {at}", f"at distance {distances[at]:.9g}", "missing")
    good = len(tried.index) - len(wrong)
    yield Check(PERTURBATIONS, "points in the box, misclassified, within eps", len(claimed), good)


def _wrong_points(tried: TriedPoints, largest: float, distances: tuple[float, ...]) -> Iterator[Check]:
    rows = zip(tried.index.tolist(), tried.apart.tolist(), tried.inside.tolist(), tried.fooling.tolist(), strict=True)
    for index, apart, inside, fooling in rows:
        what, found = f"point of image {index}", f"at distance {apart:.9g}"
        if apart > largest:
            yield Check(PERTURBATIONS, what, f"within eps {largest:.9g}", found)
        elif not inside:
            yield Check(PERTURBATIONS, what, "inside [0,1]", "outside")
        elif not fooling:
            yield Check(PERTURBATIONS, what, "misclassified", "classified as its label")
        elif not numbers_agree(distances[index], apart):
            yield Check(PERTURBATIONS, what, f"at distance {distances[index]:.9g}", found, agrees=False)


def _figure_checks(claimed: ReportValues, points: PointsTable, report: Report) -> Iterator[Check]:
    """Clean accuracy, and per eps what is proved; then whatever else differs."""
    measured = report_values(report)
    yield _share("clean accuracy", claimed.clean_accuracy, measured.clean_accuracy)
    for theirs, ours in zip(claimed.eps, measured.eps, strict=True):
        what = f"proved (VRA) at {format_eps(ours.eps)}"
        yield _share(what, theirs.verified_robust_accuracy, ours.verified_robust_accuracy)
    yield from _few(REPORT_JSON, json_disagreements(report_json(claimed), report_json(measured)))
    yield from _few(POINTS, table_disagreements(points, points_table(report)))


def _share(what: str, claimed: float, measured: float) -> Check:
    shown = (f"{100 * share:.2f} %" for share in (claimed, measured))
    return Check(REPORT_JSON, what, *shown, agrees=numbers_agree(claimed, measured))


def _few(file: str, found: Iterable[Disagreement]) -> Iterator[Check]:
    """The first few, or the check that there are none."""
    first = list(islice(found, _SHOWN + 1))
    if not first:
        yield Check(file, "every value", "as measured", "the same", agrees=True)
    for one in first[:_SHOWN]:
        yield Check(file, one.where, one.claimed, one.measured, agrees=False)
    if len(first) > _SHOWN:
        yield Check(file, "further values", "others", "not shown")


def _trust_checks(claim: ReportValues, points: PointsTable, report: Report) -> Iterator[Check]:
    """What cannot be measured, held against what can. Failures only."""
    if not claim.attacks and report.points.distance.isfinite().any():
        yield Check(REPORT_JSON, "attacks", "none", "adversarial points")
    for one in claim.protocol_differences:
        measured = report.points.status[one.eps][one.index]
        if measured != one.full:
            yield Check(REPORT_JSON, f"protocol difference, image {one.index}", one.full, measured)
    names = {stage.attack.removeprefix(AUDIT) for stage in claim.stages} | {""}
    unknown = ((index, attack) for index, attack in enumerate(points.attack) if attack not in names)
    for index, attack in islice(unknown, 1):
        yield Check(POINTS, f"row {index}, attack", attack, "no stage of that name", agrees=False)
