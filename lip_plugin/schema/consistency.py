"""Values of a report that must fit each other, whoever wrote them."""

from __future__ import annotations

from collections.abc import Iterator

from lip_plugin.schema.accuracies import excesses
from lip_plugin.schema.command import command_line
from lip_plugin.schema.report import DatasetSummary, EpsResult, ReportValues
from lip_plugin.types import OWN_IMAGES, format_eps
from lip_plugin.version import __version__

AUDIT = "audit "
"""Begins the name of a stage that tried certified images."""

Problem = tuple[str, str]
"""Where, as a JSON pointer, and what is wrong there."""


def problems(report: ReportValues) -> Iterator[Problem]:
    """What no evaluation can have found: sums that do not add up, shares that are not those of their counts."""
    yield from _of_images(report.dataset)
    yield from _of_radii(report)
    yield from _of_classes(report)
    yield from _of_stages(report)
    for at, one in enumerate(report.protocol_differences):
        if one.index >= report.dataset.n or one.eps not in [result.eps for result in report.eps]:
            yield f"/protocol_differences/{at}", f"no such image {one.index} or radius {format_eps(one.eps)}"
    ours = report.environment["lip_plugin"] == __version__
    if ours and report.request.command != command_line(report):  # another release words it in another way
        yield "/request/command", f"expected {command_line(report)!r}, which the other values ask for"


def _of_images(dataset: DatasetSummary) -> Iterator[Problem]:
    if dataset.of is not None and dataset.of_classes is None:
        yield "/dataset/of_classes", "expected where of is"
    if dataset.of is None and dataset.of_classes is not None and dataset.name != OWN_IMAGES:
        yield "/dataset/of_classes", f"expected where of is, or of {OWN_IMAGES}"
    if dataset.name == OWN_IMAGES and dataset.of is not None and dataset.n > dataset.of:
        yield "/dataset/n", f"{dataset.n} of {dataset.of} images"
    if dataset.of_classes is not None and dataset.classes > dataset.of_classes:
        yield "/dataset/classes", f"{dataset.classes} of {dataset.of_classes} classes"


def _of_radii(report: ReportValues) -> Iterator[Problem]:
    n = report.dataset.n
    most = dict(excesses(report.clean_accuracy, ((one.eps, one.verified_robust_accuracy) for one in report.eps)))
    for at, result in enumerate(report.eps):
        where, counts = f"/eps/{at}", result.counts
        if len(counts) != 4 or sum(counts.values()) != n:
            yield f"{where}/counts", f"expected four numbers that add up to {n}"
            return
        if result.verified_robust_accuracy != counts["certified"] / n:
            yield f"{where}/verified_robust_accuracy", f"expected {counts['certified']} of {n}"
        if sorted(result.empirical_robust_accuracy) != sorted(report.attacks):
            yield f"{where}/empirical_robust_accuracy", "expected one share for each of the attacks"
        if report.status == "ok":  # one that contradicts itself says so in its status
            if report.clean_accuracy != (n - counts["wrong"]) / n:
                yield "/clean_accuracy", f"expected {n - counts['wrong']} of {n}"
            if result.eps in most:
                yield (
                    f"{where}/verified_robust_accuracy",
                    f"exceeds {most[result.eps]}, right or proved at a smaller radius",
                )
            yield from _of_attacks(result, report, where)


def _of_attacks(result: EpsResult, report: ReportValues, where: str) -> Iterator[Problem]:
    """One attack leaves standing what is not broken; of several each leaves at least that much."""
    standing = (result.counts["certified"] + result.counts["undecided"]) / report.dataset.n
    highest = standing if len(report.attacks) == 1 else report.clean_accuracy
    for attack, share in result.empirical_robust_accuracy.items():
        if not standing <= share <= highest:
            expected = f"{standing}" if standing == highest else f"{standing} to {highest}"
            yield f"{where}/empirical_robust_accuracy", f"{share} survives {attack}; expected {expected}"


def _of_classes(report: ReportValues) -> Iterator[Problem]:
    classes = report.statistics.classes
    if sum(one.n for one in classes) != report.dataset.n:
        yield "/statistics/classes", f"expected numbers of images that add up to {report.dataset.n}"
    if [one.eps for one in report.statistics.eps] != [one.eps for one in report.eps]:
        yield "/statistics/eps", "expected the radii of the report"


def _of_stages(report: ReportValues) -> Iterator[Problem]:
    radii, n = [result.eps for result in report.eps], report.dataset.n
    for at, stage in enumerate(report.stages):
        if stage.eps not in radii:
            yield f"/stages/{at}/eps", f"{format_eps(stage.eps)} is no radius of the report"
        if not stage.broken <= stage.images <= n:
            yield f"/stages/{at}", f"{stage.broken} broken of {stage.images}; there are {n} images"
    forwards = sum(stage.forwards for stage in report.stages)
    if forwards != report.cost.attack_forwards:
        yield "/cost/attack_forwards", f"{report.cost.attack_forwards}; all stages together have {forwards}"
    least, most = _certified_attacked(report)
    if report.status == "ok" and not least <= report.audit.attacked_certified <= most:
        found, told = report.audit.attacked_certified, f"{least}" if least == most else f"{least} to {most}"
        yield "/audit/attacked_certified", f"{found} certified points attacked; the stages tell of {told}"


def _certified_attacked(report: ReportValues) -> tuple[int, int]:
    """(Image, eps) pairs at least and at most.

    Those of the audit, or where certified images are not skipped all of them, by each attack; with them what was
    certified until a point inside its radius fooled ``model(x)`` alone.
    """
    if not report.skipped_certified:
        each, count = sum(result.counts["certified"] for result in report.eps), len(report.attacks)
        return count * each, count * (each + report.disagrees * len(report.eps))
    audits = sum({stage.eps: stage.images for stage in report.stages if stage.attack.startswith(AUDIT)}.values())
    return audits, audits
