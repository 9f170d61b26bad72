"""``points.csv``: one line per image."""

from __future__ import annotations

import csv
import io
import math

from lip_plugin.evaluate import Report
from lip_plugin.types import format_eps


def points_csv(report: Report) -> str:
    """index, label, prediction, margin, radius, adversarial_distance, attack, and one status column per eps.

    Numbers are written so that they read back exactly; an infinite or missing distance is empty.
    """
    points = report.points
    columns = [
        range(len(points.labels)),
        points.labels.tolist(),
        points.certificate.prediction.tolist(),
        map(_number, points.certificate.margin.tolist()),
        map(_number, points.certificate.radius.tolist()),
        map(_number, points.distance.tolist()),
        points.attack,
        *points.status.values(),
    ]
    names = ["index", "label", "prediction", "margin", "radius", "adversarial_distance", "attack"]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*names, *(f"status@{format_eps(eps)}" for eps in points.status)])
    writer.writerows(zip(*columns, strict=True))
    return text.getvalue()


def _number(value: float) -> str:
    return repr(value) if math.isfinite(value) else ""
