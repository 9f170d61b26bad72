"""``model_info/<dataset>/L2/<NAME>.json``: a model's line in RobustBench's leaderboard."""

from __future__ import annotations

import json
from typing import Any

from lip_plugin.schema.report import EpsResult, ReportValues
from lip_plugin.submission.robustbench.datasets import ATTACK, EPS
from lip_plugin.submission.robustbench.texts import (
    in_html,
    paper_title,
    percent,
    percent_at_least,
    venue,
    web_link,
)
from lip_plugin.submission.submission import Submission
from lip_plugin.types import format_eps, parse_eps
from lip_plugin.zoo import ModelCard

_PROVED_AT = (EPS, *(parse_eps(f"{step}/255") for step in (36, 72, 108)))
"""Both conventions: RobustBench's, and that of the papers on Lipschitz networks."""


def model_info(submission: Submission) -> str:
    """The file. Keys after ``footnote`` are ours: RobustBench carries them along and shows the footnote.

    Null where a value is unknown, as in RobustBench's own `ModelInfo`: the robust accuracy where AutoAttack was
    not run at 0.5, and additional data where the card does not say. ``reported`` is what the model's authors have
    published, ``autoattack_acc`` what was measured here: the same where nothing was published before.
    """
    card, report = submission.card, submission.report
    survived = autoattack_accuracy(report)
    content: dict[str, Any] = {
        "link": web_link(card),
        "name": in_html(paper_title(card)),
        "authors": in_html(card.authors or ""),
        "additional_data": card.additional_data,
        "number_forward_passes": 1,
        "dataset": report.dataset.name,
        "venue": in_html(venue(card)),
        "architecture": in_html(card.architecture or report.model.architecture),
        "eps": format_eps(EPS),
        "clean_acc": percent(report.clean_accuracy),
        "reported": _reported(card) or survived,
        "autoattack_acc": survived,
        "footnote": in_html(footnote(report)),
        "certified_acc": {format_eps(result.eps): proved(report, result) for result in report.eps},
        "certified_radius": "L2, pixels in [0,1], normalisation included; proved where radius > eps",
        "certificate": in_html(report.lipschitz.method),
        "certificate_arithmetic": report.arithmetic,
        "lipschitz_upper_bound": report.lipschitz.upper_bound,
        "network_digest": submission.model.digest,
        "images": report.dataset.n,
    }
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def autoattack_accuracy(report: ReportValues) -> str | None:
    """Percent that survives standard AutoAttack at 0.5, None where that was not run."""
    result = result_at(report, EPS)
    share = None if result is None else result.empirical_robust_accuracy.get(ATTACK)
    return None if share is None else percent(share)


def _reported(card: ModelCard) -> str | None:
    """Percent at 0.5 under AutoAttack that the model's authors have published, where the card has it."""
    published = card.reported.empirical_robust_accuracy or {}
    figure = next((found.get(ATTACK) for eps, found in published.items() if parse_eps(eps) == EPS), None)
    return None if figure is None else str(round(figure, 2))


def result_at(report: ReportValues, eps: float) -> EpsResult | None:
    return next((result for result in report.eps if result.eps == eps), None)


def proved(report: ReportValues, result: EpsResult) -> str:
    """Percent of all images, rounded down."""
    return percent_at_least(result.counts["certified"], report.dataset.n)


# -- in words -------------------------------------------------------------------------------------


def footnote(report: ReportValues) -> str:
    """What is proved, how, and how the attack was run: plain text."""
    results = [found for found in (result_at(report, eps) for eps in _PROVED_AT) if found is not None]
    listed = ", ".join(f"{proved(report, result)}% at {format_eps(result.eps)}" for result in results)
    certified = f"Deterministic L2 certificate on {report.dataset.in_words}: {listed or 'no accuracy at these radii'}"
    return f"{certified} ({report.lipschitz.method}, arithmetic {report.arithmetic}). {_attack_in_words(report)}"


def _attack_in_words(report: ReportValues) -> str:
    if autoattack_accuracy(report) is None:
        return f"Standard AutoAttack was not run at eps={format_eps(EPS)}."
    if report.skipped_certified:
        return (
            "Robust accuracy by certificate-aware AutoAttack: images certified at an eps were not attacked there, "
            "except in an audit."
        )
    return "Robust accuracy by standard AutoAttack on every correctly classified image, certified ones included."
