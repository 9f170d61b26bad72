"""A report as ``report.json``: the schema "lip-report/1"."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from lip_plugin.evaluate import Report
from lip_plugin.report.statistics import statistics

SCHEMA = "lip-report/1"
POINTS_FILE = "points.csv"


def report_document(report: Report) -> dict[str, Any]:
    """JSON values only; infinite or missing numbers are None."""
    return {
        "schema": SCHEMA,
        "status": report.status,
        "problems": list(report.problems),
        "model": vars(report.model),
        "dataset": vars(report.dataset),
        "threat_model": "L2",
        "lipschitz": {
            "upper_bound": report.lipschitz.value,
            "method": report.lipschitz.method,
            **_lipschitz_audit(report),
            **_tightness(report),
            "layers": [
                {"name": layer.name, "upper_bound": layer.value, "method": layer.method}
                for layer in report.lipschitz.layers
            ],
        },
        "arithmetic": report.arithmetic,
        "disagrees": int(report.points.disagrees.sum()),
        "clean_accuracy": report.clean_accuracy,
        "eps": [{**vars(result), "vra_interval95": list(result.vra_interval95)} for result in report.eps],
        "attacks": list(report.attacks),
        "statistics": _json(dataclasses.asdict(statistics(report))),
        "audit": {name: finite(value) for name, value in vars(report.audit).items()},
        "skipped_certified": report.skipped_certified,
        "protocol_differences": [vars(difference) for difference in report.differences],
        "stages": [vars(stage) for stage in report.stages],
        "cost": vars(report.cost),
        "environment": report.environment,
        "request": _request(report),
        "points": POINTS_FILE,
    }


def _request(report: Report) -> dict[str, Any]:
    """What to ask for to get this report again."""
    request = report.request
    return {
        "command": report.command,
        "input_shape": _json(report.input_shape),
        "audit": None if request is None else "all" if request.audit is None else request.audit,
        "batch_size": None if request is None else request.batch_size,
    }


def _lipschitz_audit(report: Report) -> dict[str, Any]:
    """What the search found, where there was one."""
    audit = report.lipschitz_audit
    return {} if audit is None else {"lower_bound": audit.lower_bound, "audit_forwards": audit.forwards}


def _tightness(report: Report) -> dict[str, Any]:
    """How much of the pair bounds the network uses, where an image was certified."""
    found = report.tightness
    return {} if found is None else {"median_gradient_over_pair_bound": found.median, "gradient_images": found.images}


def _json(value: Any) -> Any:
    """Lists for tuples, None for what is not finite."""
    if isinstance(value, dict):
        return {name: _json(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_json(entry) for entry in value]
    return finite(value) if isinstance(value, float) else value


def finite(value: float | None) -> float | None:
    """None for what JSON cannot say."""
    return None if value is None or not math.isfinite(value) else value
