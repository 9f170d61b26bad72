"""``points.csv``: one line per image."""

from __future__ import annotations

import csv
import io
import math

from lip_plugin.evaluate import Report
from lip_plugin.types import format_eps


def points_csv(report: Report) -> str:
    """One row per image: what is claimed of it, and the closest adversarial point.

    ``disagrees`` is 1 where ``model(x)`` gives another label than the certificate, at the image or inside its radius;
    ``program`` is the forward that misclassifies the point, see `Points`; the last columns are its status at each eps.
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
        points.disagrees.int().tolist(),
        points.program,
        *points.status.values(),
    ]
    names = ["index", "label", "prediction", "margin", "radius", "adversarial_distance", "attack"]
    names += ["disagrees", "program"]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*names, *(f"status@{format_eps(eps)}" for eps in points.status)])
    writer.writerows(zip(*columns, strict=True))
    return text.getvalue()


def _number(value: float) -> str:
    return repr(value) if math.isfinite(value) else ""
