"""Accuracy against eps: what is proved, what survives, and the gap between."""

from __future__ import annotations

from bisect import bisect_right

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from lip_plugin.evaluate import Report
from lip_plugin.report.plots.style import ATTACKED, PROVED, label, new_axes, plot_style
from lip_plugin.report.statistics import attacked_distance, certified_radius
from lip_plugin.types import LARGEST_EPS

_MARKERS = "sD^vP*X<>p"
_FINEST = 1000


def draw_accuracy(report: Report) -> Figure:
    """Per-image radii and distances as step curves in percent of all images; markers at the eps that were evaluated.

    The curve of attacks ends at the largest eps that they tried: beyond it they say nothing.
    """
    with plot_style():
        figure, axes = new_axes(3.3 + 0.22 * (1 + len(report.attacks) + 2 * bool(report.attacks)))
        proved = _draw_proved(axes, report)
        if report.attacks:
            _draw_attacked(axes, report, proved)
        axes.set_xlim(0.0, _extent(report))
        axes.set_ylim(0.0, 100.0)
        axes.set_xlabel("eps (L2, pixels in [0,1])")
        axes.set_ylabel("% of all images")
        handles, names = axes.get_legend_handles_labels()
        order = sorted(range(len(names)), key=lambda position: not names[position].startswith("proved"))
        figure.legend([handles[i] for i in order], [names[i] for i in order], loc="outside lower left", fontsize=10)
    return figure


def shares_above(values: Tensor) -> tuple[list[float], list[float]]:
    """(eps, share): the share of values > eps changes at each of these eps and holds until the next one.

    ``values`` (N,) >= 0, possibly infinite. The first eps is 0.
    """
    ordered = values.sort().values
    distinct, counts = ordered[ordered.isfinite()].unique(return_counts=True)
    above = len(values) - counts.cumsum(0)
    eps, share = distinct.tolist(), (above / len(values)).tolist()
    if not eps or eps[0] > 0:
        eps, share = [0.0, *eps], [1.0, *share]
    return eps, share


def _draw_proved(axes: Axes, report: Report) -> tuple[list[float], list[float]]:
    end = 2 * _extent(report)
    eps, share = shares_above(_drawable(certified_radius(report.points).clamp_max(end), report))
    percent = _percent([*share, share[-1]])
    axes.step([*eps, end], percent, where="post", color=PROVED)
    results = report.eps
    middle = _percent([result.verified_robust_accuracy for result in results])
    low, high = (_percent([result.vra_interval95[side] for result in results]) for side in (0, 1))
    spread = [[m - a for m, a in zip(middle, low, strict=True)], [b - m for m, b in zip(middle, high, strict=True)]]
    axes.errorbar(
        [result.eps for result in results],
        middle,
        yerr=[[max(0.0, one) for one in side] for side in spread],
        color=PROVED,
        linestyle="none",
        marker="o",
        capsize=3,
        label="proved (VRA), with 95 % interval",
    )
    return [*eps, end], percent


def _draw_attacked(axes: Axes, report: Report, proved: tuple[list[float], list[float]]) -> None:
    limit = report.eps[-1].eps
    eps, share = shares_above(_drawable(attacked_distance(report.points).clamp_max(2 * limit + 1), report))
    inside = [position for position, one in enumerate(eps) if one <= limit]
    x = [*(eps[position] for position in inside), limit]
    y = _percent([*(share[position] for position in inside), share[inside[-1]]])
    axes.step(x, y, where="post", color=ATTACKED, linestyle="--", linewidth=1.2, label="survives everything tried")
    for marker, attack in zip(_MARKERS * len(report.attacks), report.attacks, strict=False):
        axes.plot(
            [result.eps for result in report.eps],
            _percent([result.empirical_robust_accuracy[attack] for result in report.eps]),
            color=ATTACKED,
            linestyle="none",
            marker=marker,
            markersize=6,
            markerfacecolor="none",
            label=f"survives {label(attack)}",
        )
    grid = sorted({*x, *(one for one in proved[0] if one <= limit)})
    axes.fill_between(
        grid,
        [_value(*proved, at) for at in grid],
        [_value(x, y, at) for at in grid],
        step="post",
        color=ATTACKED,
        alpha=0.15,
        linewidth=0,
        label="undecided: neither proved nor broken",
    )


def _drawable(values: Tensor, report: Report) -> Tensor:
    """Of many images, the values on a grid finer than any screen: a curve of ten thousand steps is a large file."""
    cell = _extent(report) / _FINEST
    return values if len(values) <= _FINEST else (values / cell).floor() * cell


def _value(eps: list[float], share: list[float], at: float) -> float:
    """Of the step function at one place."""
    return share[bisect_right(eps, at) - 1]


def _extent(report: Report) -> float:
    """Right end of the axis: a little beyond the largest eps, and most radii that are not out of all proportion."""
    limit = report.eps[-1].eps
    usual = float(certified_radius(report.points).quantile(0.95))
    return 1.1 * max(limit, min(usual, 2 * limit if limit > 0 else LARGEST_EPS)) or 1.0


def _percent(shares: list[float]) -> list[float]:
    return [100 * share for share in shares]
