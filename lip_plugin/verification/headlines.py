"""The figures that people quote, one by one; `document_checks` holds every other number against the measured one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from lip_plugin.certificates import lipschitz_upper_bound
from lip_plugin.evaluate import Report
from lip_plugin.network import CertifiedClassifier
from lip_plugin.submission.layout import REPORT
from lip_plugin.types import format_eps
from lip_plugin.untrusted import printable
from lip_plugin.verification.agreement import numbers_agree
from lip_plugin.verification.checks import Check, check
from lip_plugin.verification.claims import Claims

REPORT_JSON = f"{REPORT}/report.json"


def network_checks(claims: Claims, model: CertifiedClassifier) -> Iterator[Check]:
    """What follows from the weights alone."""
    document = claims.document
    yield check(REPORT_JSON, "network (digest)", _at(document, "model", "digest"), model.digest)
    bound = lipschitz_upper_bound(model).value
    yield _number("Lipschitz upper bound", _at(document, "lipschitz", "upper_bound"), bound, _digits)


def headline_checks(claims: Claims, report: Report) -> Iterator[Check]:
    """Clean accuracy, and per eps what is proved and what survives."""
    document = claims.document
    yield _number("clean accuracy", _at(document, "clean_accuracy"), report.clean_accuracy, _percent)
    for position, result in enumerate(report.eps):
        claimed = document["eps"][position]
        what = f"proved (VRA) at {format_eps(result.eps)}"
        yield _number(what, _at(claimed, "verified_robust_accuracy"), result.verified_robust_accuracy, _percent)
        for attack, share in result.empirical_robust_accuracy.items():
            what = f"survives {attack} at {format_eps(result.eps)}"
            yield _number(what, _at(claimed, "empirical_robust_accuracy", attack), share, _percent)


def _number(what: str, claimed: Any, measured: float, shown_as: Callable[[float], str]) -> Check:
    is_number = isinstance(claimed, int | float)
    shown = shown_as(claimed) if is_number else printable(str(claimed), longest=40)
    return check(REPORT_JSON, what, shown, shown_as(measured), agrees=is_number and numbers_agree(claimed, measured))


def _digits(value: float) -> str:
    return f"{value:.9g}"


def _percent(share: float) -> str:
    return f"{100 * share:.2f} %"


def _at(document: Any, *names: str) -> Any:
    """The value under these keys; None where there is none."""
    for name in names:
        document = document.get(name) if isinstance(document, dict) else None
    return document
