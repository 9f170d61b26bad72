"""How to get the same report again, from Python."""

from __future__ import annotations

from typing import Any

from lip_plugin.evaluate import Report
from lip_plugin.types import format_eps
from lip_plugin.untrusted import printable


def python_call(report: Report) -> str:
    """A program, but for the images, with every setting written out that a result depends on.

    Names come from strangers: in it they are Python literals, or one printable line of comment.
    """
    data = report.dataset
    return "\n".join(
        [
            "import lip_plugin as lp",
            "",
            f"model = lp.load_model({_model(report)!r})",
            f"assert model.digest == {report.model.digest!r}",
            f"# x (N, C, H, W) in model.dtype, y (N,): {data.n} images of {printable(data.name)}",
            "lp.compare(",
            "    model,",
            "    x,",
            "    y,",
            *(f"    {name}={value!r}," for name, value in _settings(report).items()),
            ")",
        ]
    )


def _model(report: Report) -> str:
    reference = None if report.options is None else report.options.reference
    return reference or report.model.name


def _settings(report: Report) -> dict[str, Any]:
    settings: dict[str, Any] = {
        "eps": tuple(format_eps(result.eps) for result in report.eps),
        "arithmetic": report.arithmetic,
    }
    if report.batch_size is not None:
        settings["batch_size"] = report.batch_size
    if report.lipschitz.effort != "quick":
        settings["bound"] = report.lipschitz.effort
    settings["attacks"] = report.attacks
    if report.attacks:
        settings |= {"skip_certified": report.skipped_certified, "seed": report.environment["seed"]}
        if report.audit_asked is not None:
            settings["audit"] = report.audit_asked
    return settings
