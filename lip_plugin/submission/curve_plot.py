"""``curve.svg``: the plot of the report, as a file that stands alone. Needs the extra ``report``."""

from __future__ import annotations

import io
import warnings

from lip_plugin.evaluate import Report


def curve_svg(report: Report) -> str:
    """The same report gives the same file. Raises MissingDependencyError."""
    figure = report.plot()["accuracy"]
    from lip_plugin.report.plots.style import plot_style  # there, as the line above has shown

    content = io.StringIO()
    with plot_style(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure.savefig(content, format="svg", metadata={"Date": None, "Creator": None})
    return content.getvalue()
