"""The plots of the page, each with a title, a caption, and words for those who do not see it."""

from __future__ import annotations

from dataclasses import dataclass

from markupsafe import Markup

from lip_plugin.evaluate import Report
from lip_plugin.report.page.svg import inline_svg
from lip_plugin.report.plots import figures
from lip_plugin.report.plots.distances import comparable
from lip_plugin.report.plots.layers import worth_drawing
from lip_plugin.report.summary import percent
from lip_plugin.types import format_eps

_TITLES = {
    "accuracy": "Accuracy against eps",
    "distances": "Proved radius against adversarial distance",
    "lipschitz": "Lipschitz constant of each layer",
}


@dataclass(frozen=True)
class PagePlot:
    """One figure of the page."""

    title: str
    caption: str
    svg: Markup


def page_plots(report: Report) -> list[PagePlot]:
    """Those for which the report has something to draw."""
    captions = {"accuracy": _accuracy(report), "distances": _distances(report), "lipschitz": _layers(report)}
    return [
        PagePlot(
            _TITLES[name],
            captions[name],
            inline_svg(figure, name=name, description=f"{_TITLES[name]}. {captions[name]}"),
        )
        for name, figure in figures(report).items()
    ]


def _accuracy(report: Report) -> str:
    proved = ", ".join(
        f"{percent(result.verified_robust_accuracy)} at {format_eps(result.eps)}" for result in report.eps
    )
    tried = f"; attacks were tried up to {format_eps(report.eps[-1].eps)}" if report.attacks else ""
    return f"Clean {percent(report.clean_accuracy)}; proved {proved}{tried}."


def _distances(report: Report) -> str:
    found = comparable(report.points)
    below = int((report.points.distance < report.points.certificate.radius).sum())
    place = "all of them above the diagonal" if below == 0 else f"{below} of them BELOW the diagonal"
    count = int(found.sum())
    return (
        f"{count:,} image{'' if count == 1 else 's'} with an adversarial point, {place}. "
        f"For the other {int((~found).sum()):,} none was found, or none was looked for."
    )


def _layers(report: Report) -> str:
    layers = report.lipschitz.layers
    left_out = len(layers) - len(worth_drawing(report.lipschitz))
    return f"The bound into features is the product of all {len(layers)}; {left_out} of about 1 are not drawn."
