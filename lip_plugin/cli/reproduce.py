"""The command that gives a report again, with every setting written out that its results depend on."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lip_plugin.types import format_eps

if TYPE_CHECKING:
    from lip_plugin.evaluate import Report


def command_line(report: Report, name: str | None, options: Mapping[str, Any]) -> str:
    """``lip compare ...`` or ``lip certify ...``; MODEL_DIR and DATA_DIR stand for paths, files have only their name.

    ``name`` and ``options`` as given on the command line; what was not given shows as the value it had.
    """
    words = ["lip", "compare" if report.attacks else "certify", *_model(report, name), *_data(report, options)]
    words += ["--eps", ",".join(format_eps(result.eps) for result in report.eps), "--arithmetic", report.arithmetic]
    if report.request is not None:
        words += ["--batch-size", str(report.request.batch_size)]
    if options.get("device"):
        words += ["--device", options["device"]]
    if report.attacks:
        words += ["--attacks", ",".join(report.attacks), "--seed", str(report.environment["seed"])]
        words += [] if report.skipped_certified else ["--no-skip-certified"]
        if report.request is not None:
            words += ["--audit", "all" if report.request.audit is None else str(report.request.audit)]
    if report.lipschitz_audit is not None:
        words.append("--audit-lipschitz")
    return shlex.join(words)


def _model(report: Report, name: str | None) -> list[str]:
    return ["MODEL_DIR" if name is not None and Path(name).is_dir() else report.model.name]


def _data(report: Report, options: Mapping[str, Any]) -> list[str]:
    words = [] if options.get("dataset") is None else ["--dataset", options["dataset"]]
    if options.get("data_file") is not None:
        words += ["--data", Path(options["data_file"]).name]
    if options.get("data_dir") is not None:
        words += ["--data-dir", "DATA_DIR"]
    return [*words, "--n", str(report.dataset.n)]
