"""Per image: the proved radius against the distance of the closest adversarial point that was found."""

from __future__ import annotations

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from lip_plugin.evaluate import Report
from lip_plugin.evaluate.results import Points
from lip_plugin.report.plots.style import ATTACKED, FAILED, QUIET, new_axes, plot_style

_MOST_MARKERS = 2000
"""More of them than this become pixels: a file stays small, and nobody reads single ones."""


def comparable(points: Points) -> Tensor:
    """(N,) bool: images for which an adversarial point was found."""
    return points.distance.isfinite()


def draw_distances(report: Report) -> Figure:
    """Every point belongs above the diagonal; one below it refutes a certificate."""
    points = report.points
    found = comparable(points)
    radius, distance = points.certificate.radius[found], points.distance[found]
    refuted = distance < radius
    limit = 4 * (float(distance.max()) or 1.0)  # a radius beyond, perhaps infinite, is drawn at the edge
    radius = radius.clamp_max(limit)
    extent = 1.08 * float(torch.maximum(radius, distance).max()) or 1.0
    with plot_style():
        figure, axes = new_axes(4.4)
        _draw_diagonal(axes, extent)
        axes.scatter(
            radius[~refuted].numpy(),
            distance[~refuted].numpy(),
            s=14,
            color=ATTACKED,
            alpha=0.7,
            linewidths=0,
            rasterized=len(radius) > _MOST_MARKERS,
        )
        if bool(refuted.any()):
            axes.scatter(radius[refuted].numpy(), distance[refuted].numpy(), s=60, color=FAILED, marker="x")
        axes.set_xlim(0.0, extent)
        axes.set_ylim(0.0, extent)
        axes.set_aspect("equal")
        axes.set_xlabel("proved radius (L2)")
        axes.set_ylabel("smallest adversarial distance (L2)")
    return figure


def _draw_diagonal(axes: Axes, extent: float) -> None:
    axes.plot([0.0, extent], [0.0, extent], color=QUIET, linewidth=1.2)
    axes.fill_between([0.0, extent], [0.0, extent], color=QUIET, alpha=0.18, linewidth=0)
    axes.text(0.97 * extent, 0.05 * extent, "below the diagonal:\na broken proof", ha="right", va="bottom", fontsize=10)
