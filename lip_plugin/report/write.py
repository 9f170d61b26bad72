"""All files of a report, complete or not at all."""

from __future__ import annotations

import json
from pathlib import Path

from lip_plugin.errors import MissingDependencyError
from lip_plugin.evaluate import Report
from lip_plugin.files import REPORT_FILES, complete_directory
from lip_plugin.report.document import POINTS_FILE, report_document
from lip_plugin.report.markdown import markdown
from lip_plugin.report.points import points_csv
from lip_plugin.report.views import html


def write_report(
    report: Report, directory: Path, *, overwrite: bool = False, gallery: bool | None = None
) -> str | None:
    """Write ``report.json``, ``points.csv``, ``report.md`` and, with the extra ``report``, ``report.html``.

    Returns why there is no page, None where there is one. ``overwrite`` replaces an earlier report, and nothing
    but that; ``gallery`` as for `html`. Raises ConfigError where writing is impossible.
    """
    missing = None
    with complete_directory(directory, replaceable=REPORT_FILES if overwrite else frozenset()) as partial:
        for name, content in report_texts(report).items():
            (partial / name).write_text(content, encoding="utf-8")
        try:
            page = html(report, gallery=gallery)
        except MissingDependencyError as error:
            missing = str(error)
        else:
            (partial / "report.html").write_text(page, encoding="utf-8")
    return missing


def report_texts(report: Report) -> dict[str, str]:
    """``report.json``, ``points.csv`` and ``report.md``: the files that follow from the report alone."""
    document = json.dumps(report_document(report), indent=1, ensure_ascii=False, allow_nan=False)
    return {"report.json": document + "\n", POINTS_FILE: points_csv(report), "report.md": markdown(report)}
