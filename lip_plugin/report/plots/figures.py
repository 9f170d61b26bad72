"""All figures of a report."""

from __future__ import annotations

from matplotlib.figure import Figure

from lip_plugin.evaluate import Report
from lip_plugin.report.plots.accuracy import draw_accuracy
from lip_plugin.report.plots.distances import comparable, draw_distances
from lip_plugin.report.plots.layers import draw_layers, worth_drawing


def figures(report: Report) -> dict[str, Figure]:
    """By name: "accuracy", "distances" and "lipschitz", those for which there is something to draw."""
    found = {"accuracy": draw_accuracy(report)}
    if bool(comparable(report.points).any()):
        found["distances"] = draw_distances(report)
    if worth_drawing(report.lipschitz):
        found["lipschitz"] = draw_layers(report.lipschitz)
    return found
