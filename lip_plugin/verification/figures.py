"""The figures that people quote, one by one, and every other value of the report against the measured one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice

from lip_plugin.certificates import lipschitz_upper_bound
from lip_plugin.evaluate import Report
from lip_plugin.network import CertifiedClassifier
from lip_plugin.report.document import points_table, report_values
from lip_plugin.schema import report_json
from lip_plugin.submission.layout import POINTS, REPORT_JSON
from lip_plugin.types import format_eps
from lip_plugin.verification.agreement import (
    Disagreement,
    bounds_agree,
    json_disagreements,
    numbers_agree,
    table_disagreements,
)
from lip_plugin.verification.checks import Check, check
from lip_plugin.verification.claims import Claims

_SHOWN = 3


def network_checks(claims: Claims, model: CertifiedClassifier) -> Iterator[Check]:
    """What follows from the weights alone."""
    yield check(REPORT_JSON, "network (digest)", claims.report.model.digest, model.digest)
    claimed, proved = claims.report.lipschitz.upper_bound, lipschitz_upper_bound(model).value
    what = "Lipschitz upper bound"
    yield check(REPORT_JSON, what, f"{claimed:.13g}", f"{proved:.13g}", agrees=bounds_agree(claimed, proved))


def figure_checks(claims: Claims, report: Report) -> Iterator[Check]:
    """Clean accuracy, and per eps what is proved; then whatever else differs. ``report`` is the measured one."""
    claimed, measured = claims.report, report_values(report)
    yield _share("clean accuracy", claimed.clean_accuracy, measured.clean_accuracy)
    for theirs, ours in zip(claimed.eps, measured.eps, strict=True):
        what = f"proved (VRA) at {format_eps(ours.eps)}"
        yield _share(what, theirs.verified_robust_accuracy, ours.verified_robust_accuracy)
    documents = json_disagreements(report_json(claimed), report_json(measured))
    yield from _few(REPORT_JSON, "every value", documents)
    yield from _few(POINTS, "every value", table_disagreements(claims.points, points_table(report)))


def _share(what: str, claimed: float, measured: float) -> Check:
    shown = (f"{100 * share:.2f} %" for share in (claimed, measured))
    return check(REPORT_JSON, what, *shown, agrees=numbers_agree(claimed, measured))


def _few(file: str, what: str, found: Iterable[Disagreement]) -> Iterator[Check]:
    """The first few, or the check that there are none."""
    first = list(islice(found, _SHOWN + 1))
    if not first:
        yield check(file, what, "as measured", "the same", agrees=True)
    for one in first[:_SHOWN]:
        yield check(file, one.where, one.claimed, one.measured, agrees=False)
    if len(first) > _SHOWN:
        yield check(file, "further values", "others", "not shown", agrees=False)
