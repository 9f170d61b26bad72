"""The command that gives a report again, with every setting written out that its results depend on."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lip_plugin.types import format_eps

if TYPE_CHECKING:
    from lip_plugin.evaluate import Report


MODEL_DIR, DATA_DIR = "MODEL_DIR", "DATA_DIR"
"""Stand for paths; files have only their name."""


def command_line(report: Report, *, model: str, options: Mapping[str, Any]) -> str:
    """``lip compare ...`` or ``lip certify ...``.

    ``model`` is its name or `MODEL_DIR`. Of ``options``, as given on the command line, those are looked at that the
    report does not have: dataset, data_file, data_dir, device. What was not given shows as the value it had.
    """
    words = ["lip", "compare" if report.attacks else "certify", model, *_data(report, options)]
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


def _data(report: Report, options: Mapping[str, Any]) -> list[str]:
    words = [] if options.get("dataset") is None else ["--dataset", options["dataset"]]
    if options.get("data_file") is not None:
        words += ["--data", Path(options["data_file"]).name]
    if options.get("data_dir") is not None:
        words += ["--data-dir", DATA_DIR]
    return [*words, "--n", str(report.dataset.n)]


def recited(report: Report, command: str) -> str:
    """What `command_line` writes for this report where ``command`` is one of its own, up to what only that can know."""
    words = shlex.split(command)
    given = dict(pairwise(words))
    options = {"dataset": given.get("--dataset"), "data_file": given.get("--data"), "device": given.get("--device")}
    model = MODEL_DIR if words[2:3] == [MODEL_DIR] else report.model.name
    return command_line(report, model=model, options={**options, "data_dir": given.get("--data-dir")})
