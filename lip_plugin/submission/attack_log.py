"""``attack.log``: the attacks as they ran, stage by stage."""

from __future__ import annotations

from collections.abc import Iterable

from lip_plugin.schema.report import ReportValues
from lip_plugin.submission.submission import Submission
from lip_plugin.types import format_eps
from lip_plugin.untrusted import printable

_SETTINGS = ("seed", "device", "threads")
"""Of the environment, what is no version."""


def attack_log(submission: Submission) -> str:
    """Lines "name: value", then one line per stage, its columns divided by tabs."""
    report = submission.report
    data = report.dataset
    lines = [
        f"model: {report.model.name}, network digest {report.model.digest}, weights sha256 {report.model.sha256}",
        f"data: {data.in_words}, sha256 {submission.images_sha256}; called {data.source!r} by whoever gave them",
        "threat model: L2, pixels in [0,1]; every point re-checked by model(x) and in float64, no tolerance",
        f"attacks: {', '.join(report.attacks)}",
        f"protocol: {_protocol(report)}",
        f"seeds: {_seeds(report)}",
        f"versions: {_environment(report, versions=True)}",
        f"ran with: {_environment(report, versions=False)}",
        f"again: {report.request.command or 'not recorded'}",
    ]
    return "\n".join([*map(printable, lines), "", *_stages(report), "", *_outcome(report)]) + "\n"


def _protocol(report: ReportValues) -> str:
    if not report.skipped_certified:
        return "full: every correct image is attacked at every eps that has not broken it yet"
    tried = "some" if report.request.audit is None else report.request.audit
    return f"certificate-aware: images certified at eps are not attacked there, except {tried} of them in the audit"


def _seeds(report: ReportValues) -> str:
    size = "" if report.request.batch_size is None else f" of {report.request.batch_size} images"
    return (
        f"{report.environment.get('seed')}; each block{size} draws from the first 31 bits of "
        "sha256 of 'seed|stage|block|part', an audit's stage by its plain name; all radii are one batch"
    )


def _environment(report: ReportValues, *, versions: bool) -> str:
    return ", ".join(
        f"{name} {value}" for name, value in report.environment.items() if (name not in _SETTINGS) == versions
    )


def _stages(report: ReportValues) -> Iterable[str]:
    yield "\t".join(["eps", "stage", "program", "images", "newly broken", "image-forwards"])
    for stage in report.stages:
        name = [format_eps(stage.eps), printable(stage.attack), stage.program]
        yield "\t".join([*name, *map(str, (stage.images, stage.broken, stage.forwards))])


def _outcome(report: ReportValues) -> Iterable[str]:
    yield f"image-forwards in all: {report.cost.attack_forwards}, in {report.cost.attack_seconds!r} s"
    for result in report.eps:
        for attack, share in result.empirical_robust_accuracy.items():
            yield f"survives {printable(attack)} at {format_eps(result.eps)}: {share!r}"
    for one in report.protocol_differences:
        yield (
            f"image {one.index} at {format_eps(one.eps)}: "
            f"{one.certificate_aware} where certified images are skipped, {one.full} here"
        )
