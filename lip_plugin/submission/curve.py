"""``curve.csv``: certified and empirical accuracy against eps."""

from __future__ import annotations

import csv
import io

from lip_plugin.evaluate import Report
from lip_plugin.report.statistics import attacked_distance, certified_radius

_STEPS = 100


def curve_csv(report: Report) -> str:
    """eps, proved, survives: shares of all images, at the evaluated eps and on an even grid up to the largest of them.

    ``proved`` is a lower bound on robust accuracy. ``survives`` is an upper bound: images with no adversarial point
    within eps among all that any attack found at any eps; empty where nothing was attacked.
    """
    evaluated = [result.eps for result in report.eps]
    radius, distance = certified_radius(report.points), attacked_distance(report.points)
    correct = report.points.correct
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["eps", "proved", "survives"])
    for eps in sorted({*evaluated, *(max(evaluated) * step / _STEPS for step in range(_STEPS + 1))}):
        proved = float((radius > eps).double().mean())
        survives = float((correct & (distance > eps)).double().mean())
        writer.writerow([repr(eps), repr(proved), repr(survives) if report.attacks else ""])
    return text.getvalue()
