"""The command that gives a report again, with every setting written out that its results depend on."""

from __future__ import annotations

import shlex

from lip_plugin.schema.report import ReportValues
from lip_plugin.types import format_eps

MODEL_DIR, DATA_DIR = "MODEL_DIR", "DATA_DIR"
"""Stand for paths; files have only their name."""


def command_line(report: ReportValues) -> str:
    """``lip compare ...`` or ``lip certify ...``; empty where the report was not asked for on a command line.

    A pure function of the other values: what was not given shows as the value it had.
    """
    options, request = report.options, report.request
    if options is None:
        return ""
    words = ["lip", "compare" if report.attacks else "certify"]
    words.append(MODEL_DIR if options.model_dir else options.reference or report.model.name)
    words += [] if options.dataset is None else ["--dataset", options.dataset]
    words += [] if options.data is None else ["--data", options.data]
    words += ["--data-dir", DATA_DIR] if options.data_dir else []
    words += [] if options.every is None else ["--every", str(options.every)]
    words += ["--n" if options.sample_seed is None else "--sample", str(report.dataset.n)]
    words += ["--eps", ",".join(format_eps(result.eps) for result in report.eps), "--arithmetic", report.arithmetic]
    words += [] if request.batch_size is None else ["--batch-size", str(request.batch_size)]
    words += [] if options.device is None else ["--device", options.device]
    if report.attacks:
        words += ["--attacks", ",".join(report.attacks)]
        words += [] if report.skipped_certified else ["--no-skip-certified"]
        words += [] if request.audit is None else ["--audit", str(request.audit)]
    seed = report.environment["seed"] if report.attacks else options.sample_seed
    words += [] if seed is None else ["--seed", str(seed)]
    words += [] if report.lipschitz.effort == "quick" else ["--bound", report.lipschitz.effort]
    if report.lipschitz.lower_bound is not None:
        words.append("--audit-lipschitz")
    return shlex.join(words)
