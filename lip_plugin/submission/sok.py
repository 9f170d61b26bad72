"""``sok/board.yml``: records for the SoK leaderboard of certified robustness.

Source: `_data/board.yml` of sokcertifiedrobustness.github.io: a list of settings, each with its records. A submission
is a pull request that adds the records to the settings that are there. Its page shows the values as HTML.
"""

from __future__ import annotations

import math
from typing import Any

import yaml

from lip_plugin.data import DataSet, find_dataset
from lip_plugin.schema.report import EpsResult
from lip_plugin.submission.layout import SOK
from lip_plugin.submission.robustbench.texts import in_html, paper_title, percent_at_least, web_link
from lip_plugin.submission.submission import Submission
from lip_plugin.types import format_eps, parse_eps


def settings_of(dataset: DataSet | None) -> dict[float, str]:
    """Radius -> title of the board's setting, in its own words; none for a data set that it does not have. L2 only."""
    if dataset is None:
        return {}
    before = rf"{dataset.title},&nbsp; \(\ell_2\), &nbsp; \(\epsilon="
    return {parse_eps(eps): rf"{before}{eps}\)" for eps in dataset.sok_radii}


def sok_files(submission: Submission) -> dict[str, str]:
    """Path in the bundle -> content; nothing where no evaluated radius is a setting of the board.

    A pure function.
    """
    settings = settings_of(find_dataset(submission.report.dataset.name))
    groups = [
        {"setting": settings[result.eps], "records": [_record(submission, result)]}
        for result in submission.report.eps
        if result.eps in settings
    ]
    if not groups:
        return {}
    text = yaml.safe_dump(groups, sort_keys=False, allow_unicode=True, width=math.inf)
    return {f"{SOK}/board.yml": text}


def _record(submission: Submission, result: EpsResult) -> dict[str, Any]:
    """Without a venue the board shows a preprint."""
    card, report = submission.card, submission.report
    score = percent_at_least(result.counts["certified"], report.dataset.n)
    comment = (
        f"{card.name}, {report.dataset.n} images, radius > {format_eps(result.eps)}: {report.lipschitz.method}, "
        f"arithmetic {report.arithmetic}, by lip-plugin {report.environment.get('lip_plugin')}"
    )
    return {
        "score": f"{score}%",
        "title": in_html(paper_title(card)),
        "link": web_link(card),
        "prob": False,
        "venue": in_html(card.venue) if card.venue else None,
        "comment": in_html(comment),
    }
