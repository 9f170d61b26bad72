"""Figures that follow from a report's points and that people quote."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lip_plugin.certificates import wilson_interval95
from lip_plugin.evaluate import Report
from lip_plugin.evaluate.results import Points
from lip_plugin.schema.report import ClassStatistics, EpsStatistics, Statistics


def statistics(report: Report) -> Statistics:
    """All of them; intervals are Wilson 95 %."""
    dimensions = None if report.input_shape is None else math.prod(report.input_shape)
    return Statistics(
        clean_interval95=_interval(report.clean_accuracy, report.dataset.n),
        average_certified_radius=float(certified_radius(report.points).mean()),
        input_dimensions=dimensions,
        eps=tuple(
            EpsStatistics(
                result.eps,
                None if dimensions is None else linf_radius(result.eps, dimensions),
                {
                    attack: _interval(share, report.dataset.n)
                    for attack, share in result.empirical_robust_accuracy.items()
                },
            )
            for result in report.eps
        ),
        classes=_class_statistics(report.points),
    )


def certified_radius(points: Points) -> Tensor:
    """(N,) float64: the radius that counts. 0 where the prediction is wrong, or an attack contradicted the proof."""
    certificate = points.certificate
    good = points.correct & ~(points.distance < certificate.radius)
    return torch.where(good, certificate.radius, 0.0)


def attacked_distance(points: Points) -> Tensor:
    """(N,) float64: distance to the closest adversarial point, infinite without one; 0 where the label is missed."""
    return torch.where(points.correct, points.distance, 0.0)


def linf_radius(radius: float, dimensions: int) -> float:
    """radius / sqrt(dimensions), rounded down: every tensor that close in Linf is within ``radius`` in L2."""
    return radius / math.sqrt(dimensions) * (1.0 - 2.0**-51)


def _class_statistics(points: Points) -> tuple[ClassStatistics, ...]:
    labels, of_image, counts = points.labels.unique(return_inverse=True, return_counts=True)

    def means(values: Tensor) -> list[float]:
        """Of (N,) values, class by class."""
        sums = torch.zeros(len(labels), dtype=torch.float64).index_add(0, of_image, values.double())
        return (sums / counts).tolist()

    columns = zip(
        labels.tolist(),
        counts.tolist(),
        means(points.correct),
        means(certified_radius(points)),
        zip(*(means(_has(points, eps, "certified")) for eps in points.status), strict=True),
        zip(*(means(_has(points, eps, "certified", "undecided")) for eps in points.status), strict=True),
        strict=True,
    )
    return tuple(ClassStatistics(*row) for row in columns)


def _has(points: Points, eps: float, *names: str) -> Tensor:
    """(N,) bool: whether the image's status at eps is one of these."""
    return torch.tensor([status in names for status in points.status[eps]], dtype=torch.bool)


def _interval(share: float, n: int) -> tuple[float, float]:
    return wilson_interval95(round(share * n), n)
