"""All files of a report, complete or not at all."""

from __future__ import annotations

from pathlib import Path

from lip_plugin.errors import MissingDependencyError
from lip_plugin.evaluate import Report
from lip_plugin.files import REPORT_FILES, complete_directory
from lip_plugin.report.document import points_csv, report_values
from lip_plugin.report.markdown import markdown
from lip_plugin.report.views import html
from lip_plugin.schema import report_text
from lip_plugin.schema.report import POINTS_FILE


def write_report(
    report: Report, directory: Path, *, overwrite: bool = False, gallery: bool | None = None
) -> str | None:
    """A directory of `fill_report`, complete or not at all. ``overwrite`` replaces an earlier report, nothing else.

    Raises ConfigError where writing is impossible.
    """
    with complete_directory(directory, replaceable=REPORT_FILES if overwrite else frozenset()) as folder:
        return fill_report(report, folder, gallery=gallery)


def fill_report(report: Report, folder: Path, *, gallery: bool | None = None) -> str | None:
    """Write ``report.json``, ``points.csv``, ``report.md`` and, with the extra ``report``, ``report.html``.

    Returns why there is no page, None where there is one. ``gallery`` as for `html`. Raises OSError.
    """
    for name, content in report_texts(report).items():
        (folder / name).write_text(content, encoding="utf-8")
    try:
        page = html(report, gallery=gallery)
    except MissingDependencyError as error:
        return str(error)
    (folder / "report.html").write_text(page, encoding="utf-8")
    return None


def report_texts(report: Report) -> dict[str, str]:
    """``report.json``, ``points.csv`` and ``report.md``: the files that follow from the report alone."""
    return {
        "report.json": report_text(report_values(report)),
        POINTS_FILE: points_csv(report),
        "report.md": markdown(report),
    }
