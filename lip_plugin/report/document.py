"""A report as the values of ``report.json`` and ``points.csv``."""

from __future__ import annotations

import dataclasses
from typing import Any

from lip_plugin.evaluate import Report
from lip_plugin.report.statistics import statistics
from lip_plugin.schema import PointsTable, ReportValues, points_text, report_json
from lip_plugin.schema.command import command_line
from lip_plugin.schema.report import LayerValues, LipschitzValues, RequestValues


def report_values(report: Report) -> ReportValues:
    """Everything but the points, as it is written and read."""
    values = ReportValues(
        status=report.status,
        problems=report.problems,
        model=report.model,
        dataset=report.dataset,
        lipschitz=_lipschitz(report),
        arithmetic=report.arithmetic,  # pyright: ignore[reportArgumentType]
        disagrees=int(report.points.disagrees.sum()),
        clean_accuracy=report.clean_accuracy,
        eps=report.eps,
        attacks=report.attacks,
        statistics=statistics(report),
        audit=report.audit,
        skipped_certified=report.skipped_certified,
        protocol_differences=report.differences,
        stages=report.stages,
        cost=report.cost,
        environment=report.environment,
        options=report.options,
        data=report.data,
        request=RequestValues(
            command="",
            input_shape=report.input_shape,
            audit=report.audit_asked,
            batch_size=report.batch_size,
        ),
    )
    return dataclasses.replace(values, request=dataclasses.replace(values.request, command=command_line(values)))


def report_document(report: Report) -> dict[str, Any]:
    """``report.json`` as JSON values."""
    return report_json(report_values(report))


def points_table(report: Report) -> PointsTable:
    """Per image what is claimed of it, and the closest adversarial point."""
    points = report.points
    return PointsTable(
        label=tuple(points.labels.tolist()),
        prediction=tuple(points.certificate.prediction.tolist()),
        margin=tuple(points.certificate.margin.tolist()),
        radius=tuple(points.certificate.radius.tolist()),
        adversarial_distance=tuple(points.distance.tolist()),
        attack=points.attack,
        disagrees=tuple(points.disagrees.int().tolist()),
        program=points.program,
        status=points.status,
    )


def points_csv(report: Report) -> str:
    """``points.csv``, as `PointsTable` describes it."""
    return points_text(points_table(report))


def _lipschitz(report: Report) -> LipschitzValues:
    bound, audit, tightness = report.lipschitz, report.lipschitz_audit, report.tightness
    return LipschitzValues(
        upper_bound=bound.value,
        method=bound.method,
        effort=bound.effort,
        lower_bound=None if audit is None else audit.lower_bound,
        audit_forwards=None if audit is None else audit.forwards,
        median_gradient_over_pair_bound=None if tightness is None else tightness.median,
        gradient_images=None if tightness is None else tightness.images,
        layers=tuple(LayerValues(layer.name, layer.value, layer.method) for layer in bound.layers),
    )
