"""What needs the libraries of the extra ``report``, which are loaded when it is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lip_plugin.evaluate import Report
from lip_plugin.extras import report_extra

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def plot(report: Report) -> dict[str, Figure]:
    """`Report.plot`. Raises MissingDependencyError."""
    with report_extra():
        from lip_plugin.report.plots import figures
    return figures(report)


def html(report: Report, *, gallery: bool | None = None) -> str:
    """The page; ``gallery`` None shows images where the data set's terms allow it. Raises MissingDependencyError."""
    with report_extra():
        from lip_plugin.report.page import html_page
    return html_page(report, gallery=gallery)


def notebook(report: Report) -> str:
    """The page in a frame, as a notebook shows it. Raises MissingDependencyError."""
    with report_extra():
        from lip_plugin.report.page import notebook_frame
    return notebook_frame(report)
