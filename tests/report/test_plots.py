"""What is drawn, held against the report it is drawn from."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
import torch

import lip_plugin as lp
from lip_plugin.report import plot

matplotlib: Any = pytest.importorskip("matplotlib", reason="needs the extra report")


def axes_of(report: lp.Report, name: str) -> Any:
    return plot(report)[name].axes[0]


def curves(report: lp.Report) -> dict[str, list[tuple[float, float]]]:
    """label -> (x, y) of every line of the first plot."""
    return {
        str(line.get_label()): list(zip(*line.get_data(), strict=True))
        for line in axes_of(report, "accuracy").get_lines()
    }


def at(curve: list[tuple[float, float]], x: float) -> float:
    return [y for start, y in curve if start <= x][-1]


def test_curves_pass_through_the_figures_of_the_report(report: lp.Report) -> None:
    found = curves(report)
    (result,) = report.eps
    proved = next(iter(found.values()))
    assert at(proved, result.eps) == 100 * result.verified_robust_accuracy == 25
    assert [at(proved, eps) for eps in (0.0, 0.05, 0.0999, 0.1, 0.2)] == [75, 50, 50, 25, 0]
    tried = found["survives everything tried"]
    assert at(tried, 0.12) == 75
    assert at(tried, result.eps) == 50
    assert max(x for x, _ in tried) == result.eps
    assert found["survives autoattack"] == [(result.eps, 50)]


def test_a_refuted_proof_is_drawn_below_the_diagonal_and_not_counted(report: lp.Report) -> None:
    distance = torch.tensor([math.inf, 0.1, 0.125, math.inf], dtype=torch.float64)
    refuted = dataclasses.replace(report, points=dataclasses.replace(report.points, distance=distance))
    assert at(next(iter(curves(refuted).values())), 0.04) == 50
    above, below = (points.get_offsets().tolist() for points in axes_of(refuted, "distances").collections[1:])
    assert above == [[0.05, 0.125]]
    assert below == [[0.2, 0.1]]


def test_bars_are_the_constants_of_the_layers(report: lp.Report) -> None:
    axes = axes_of(report, "lipschitz")
    assert [bar.get_x() + bar.get_width() for bar in axes.patches] == [3.0]
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["00 conv: 3"]


def test_only_what_there_is_to_draw(report: lp.Report) -> None:
    distance = torch.full((4,), math.inf, dtype=torch.float64)
    proofs = dataclasses.replace(
        report,
        attacks=(),
        lipschitz=lp.LipschitzBound(1.0, (), "m"),
        points=dataclasses.replace(report.points, distance=distance),
    )
    assert list(plot(proofs)) == ["accuracy"]


@pytest.mark.parametrize("eps", [0.0, 1e6])
@pytest.mark.parametrize("radius", [0.0, torch.finfo(torch.float64).max])
@pytest.mark.parametrize("distance", [0.0, math.inf])
def test_extremes_can_be_drawn(report: lp.Report, eps: float, radius: float, distance: float) -> None:
    """Also as SVG: an axis without extent, or without end, would fail there."""
    points = report.points
    everywhere = torch.full((4,), radius, dtype=torch.float64)
    extreme = dataclasses.replace(
        report,
        eps=(dataclasses.replace(report.eps[0], eps=eps),),
        points=dataclasses.replace(
            points,
            certificate=dataclasses.replace(points.certificate, radius=everywhere),
            distance=torch.full((4,), distance, dtype=torch.float64),
            status={eps: points.status[36 / 255]},
        ),
    )
    for figure in plot(extreme).values():
        figure.draw_without_rendering()


def test_the_users_own_settings_are_neither_used_nor_changed(report: lp.Report) -> None:
    ours = plot(report)["accuracy"].axes[0]
    with matplotlib.rc_context({"axes.labelcolor": "#ff0000", "font.size": 30}):
        theirs = plot(report)["accuracy"].axes[0]
        assert matplotlib.rcParams["font.size"] == 30
    assert theirs.xaxis.label.get_color() == ours.xaxis.label.get_color()
    assert theirs.xaxis.label.get_fontsize() == ours.xaxis.label.get_fontsize()


def test_the_method_of_a_report(report: lp.Report) -> None:
    assert list(report.plot()) == ["accuracy", "distances", "lipschitz"]
