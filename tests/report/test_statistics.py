"""Quoted figures against numbers worked out by hand."""

from __future__ import annotations

import dataclasses
import json
import math
from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import lip_plugin as lp
from lip_plugin.certificates import wilson_interval95
from lip_plugin.report import report_document, statistics
from lip_plugin.report.digits import rounded_down, rounded_up
from lip_plugin.report.statistics import linf_radius

EPS = 36 / 255


def test_average_certified_radius_counts_wrong_images_as_zero(report: lp.Report) -> None:
    assert statistics(report).average_certified_radius == pytest.approx((0 + 0.2 + 0.05 + 0.1) / 4, rel=1e-15)


def test_a_contradicted_radius_does_not_count(report: lp.Report) -> None:
    distance = torch.tensor([math.inf, 0.1, math.inf, math.inf], dtype=torch.float64)
    refuted = dataclasses.replace(report, points=dataclasses.replace(report.points, distance=distance))
    assert statistics(refuted).average_certified_radius == pytest.approx((0.05 + 0.1) / 4, rel=1e-15)


def test_class_by_class(report: lp.Report) -> None:
    zero, one, two = statistics(report).classes
    assert (zero.label, zero.n, zero.clean_accuracy) == (0, 2, 0.5)
    assert zero.average_certified_radius == pytest.approx(0.05, rel=1e-15)
    assert (zero.verified_robust_accuracy, zero.empirical_robust_accuracy) == ((0.0,), (0.5,))
    assert (one.verified_robust_accuracy, one.empirical_robust_accuracy) == ((1.0,), (1.0,))
    assert (two.verified_robust_accuracy, two.empirical_robust_accuracy) == ((0.0,), (0.0,))


def test_intervals_are_those_of_the_counts(report: lp.Report) -> None:
    found = statistics(report)
    assert found.clean_interval95 == wilson_interval95(3, 4)
    assert found.eps[0].empirical_interval95 == {"autoattack": wilson_interval95(2, 4)}


@given(st.floats(0, 1e6), st.integers(1, 10**6))
def test_a_linf_ball_never_leaves_its_l2_ball(radius: float, dimensions: int) -> None:
    found = linf_radius(radius, dimensions)
    assert Fraction(found) ** 2 * dimensions <= Fraction(radius) ** 2
    assert found >= radius / math.sqrt(dimensions) * (1 - 1e-15)


@given(st.floats(0, 1e300))
def test_digits_err_on_the_safe_side(value: float) -> None:
    low, high = Fraction(rounded_down(value)), Fraction(rounded_up(value))
    assert low <= Fraction(value) <= high
    assert high - low <= Fraction(value) / 500
    assert len(rounded_down(value)) <= 12


def test_the_document_has_them_as_json(report: lp.Report) -> None:
    document = report_document(report)
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    assert document["statistics"]["input_dimensions"] == 4
    assert document["statistics"]["eps"][0]["linf_eps"] == pytest.approx(EPS / 2, rel=1e-14)
    assert document["request"] == {"command": "", "input_shape": [1, 2, 2], "audit": 2, "batch_size": 256}


def test_infinite_averages_are_null(report: lp.Report) -> None:
    """The largest float stands for an infinite radius; the sum of two is infinite."""
    points = report.points
    largest = torch.full((4,), torch.finfo(torch.float64).max, dtype=torch.float64)
    certificate = dataclasses.replace(points.certificate, radius=largest)
    distance = torch.full((4,), torch.inf, dtype=torch.float64)
    endless = dataclasses.replace(
        report, points=dataclasses.replace(points, certificate=certificate, distance=distance)
    )
    assert report_document(endless)["statistics"]["average_certified_radius"] is None


def test_an_older_report_without_a_shape_has_no_linf_column(report: lp.Report) -> None:
    bare = dataclasses.replace(report, input_shape=None, audit_asked=None, batch_size=None)
    document = report_document(bare)
    assert document["statistics"]["eps"][0]["linf_eps"] is None
    assert document["request"]["input_shape"] is None
