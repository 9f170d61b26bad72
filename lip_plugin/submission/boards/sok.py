"""The SoK leaderboard of certified robustness: deterministic L2 certificates at its own radii."""

from __future__ import annotations

import math
from collections.abc import Iterator

from lip_plugin.certificates.program import PROGRAMS
from lip_plugin.data import LabelledImages, find_dataset, list_datasets
from lip_plugin.evaluate import DatasetSummary
from lip_plugin.evaluate.images import summarise_images
from lip_plugin.network import CertifiedClassifier
from lip_plugin.schema import ReportValues
from lip_plugin.submission.boards.board import Board, Refusal
from lip_plugin.submission.boards.splits import split_refusals
from lip_plugin.submission.sok import settings_of
from lip_plugin.submission.submission import Submission
from lip_plugin.types import OWN_IMAGES, format_eps
from lip_plugin.untrusted import printable
from lip_plugin.zoo import ModelCard


class SokBoard(Board):
    """Certified accuracy on the whole test set; attacks are not asked for."""

    name = "sok"
    title = "SoK: certified robustness"
    radii = (36 / 255, 0.25, 1.0, 2.0)

    def refusals_before(
        self, card: ModelCard, model: CertifiedClassifier, images: LabelledImages
    ) -> tuple[Refusal, ...]:
        found = summarise_images(images)
        return (*_of_dataset(card, found.name), *_of_images(found))

    def refusals_after(self, submission: Submission) -> tuple[Refusal, ...]:
        report = submission.report
        return (
            *_of_dataset(submission.card, report.dataset.name),
            *_of_images(report.dataset),
            *_of_radii(report),
            *_of_certificate(report),
        )


def _of_dataset(card: ModelCard, images: str) -> Iterator[Refusal]:
    if not settings_of(find_dataset(images)):
        known = [dataset.name for dataset in list_datasets() if settings_of(dataset)]
        yield Refusal("data set", printable(images, longest=80), " or ".join(known))
    if (card.dataset or OWN_IMAGES) != images:
        shown = "none" if card.dataset is None else printable(card.dataset, longest=80)
        yield Refusal("data set of the card", shown, f"that of the images, {printable(images, longest=80)}")


def _of_images(images: DatasetSummary) -> Iterator[Refusal]:
    if settings_of(find_dataset(images.name)):
        yield from split_refusals(images)


def _of_radii(report: ReportValues) -> Iterator[Refusal]:
    settings = settings_of(find_dataset(report.dataset.name))
    evaluated = [result.eps for result in report.eps]
    if settings and not set(settings) & set(evaluated):
        expected = ", ".join(map(format_eps, settings))
        yield Refusal("radius", ", ".join(map(format_eps, evaluated)), f"at least one of {expected}")


def _of_certificate(report: ReportValues) -> Iterator[Refusal]:
    """A proof about a function that is stated, not refuted, from a bound that is one."""
    if report.arithmetic not in PROGRAMS:
        yield Refusal("arithmetic", printable(report.arithmetic, longest=80), " or ".join(PROGRAMS))
    if "estimate" in report.lipschitz.method or not math.isfinite(report.lipschitz.upper_bound):
        found = f"{report.lipschitz.upper_bound!r} by {printable(report.lipschitz.method, longest=80)}"
        yield Refusal("certificate", found, "a proved, finite Lipschitz bound")
    if report.status != "ok":
        yield Refusal("certificate", f"an evaluation that ended as {report.status}", "one without contradictions")
