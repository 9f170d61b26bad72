"""All files of a report, complete or not at all."""

from __future__ import annotations

import json
from pathlib import Path

from lip_plugin.evaluate import Report
from lip_plugin.files import REPORT_FILES, complete_directory
from lip_plugin.report.document import POINTS_FILE, report_document
from lip_plugin.report.markdown import markdown
from lip_plugin.report.points import points_csv


def write_report(report: Report, directory: Path, *, overwrite: bool = False) -> None:
    """Write ``report.json``, ``points.csv`` and ``report.md``. Raises ConfigError where that is impossible.

    ``overwrite`` replaces an earlier report, and nothing but that.
    """
    with complete_directory(directory, replaceable=REPORT_FILES if overwrite else frozenset()) as partial:
        document = json.dumps(report_document(report), indent=1, ensure_ascii=False, allow_nan=False)
        (partial / "report.json").write_text(document + "\n", encoding="utf-8")
        (partial / POINTS_FILE).write_text(points_csv(report), encoding="utf-8")
        (partial / "report.md").write_text(markdown(report), encoding="utf-8")
