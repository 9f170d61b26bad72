"""RobustBench's L2 leaderboard: what it evaluates, and what it would refuse."""

from __future__ import annotations

import re
from collections.abc import Iterator

import torch

from lip_plugin.data import LabelledImages, find_dataset
from lip_plugin.errors import UnsupportedLayerError
from lip_plugin.evaluate.images import summarise_images
from lip_plugin.network import CertifiedClassifier
from lip_plugin.schema import PointsTable, ReportValues
from lip_plugin.submission.boards.board import Board, Refusal
from lip_plugin.submission.boards.splits import split_refusals
from lip_plugin.submission.robustbench.blocks import network_blocks
from lip_plugin.submission.robustbench.datasets import (
    ATTACK,
    EPS,
    FAST_TEST_IMAGES,
    WholeSplit,
    evaluated_names,
    whole_split,
)
from lip_plugin.submission.submission import Submission
from lip_plugin.types import OWN_IMAGES, format_eps
from lip_plugin.untrusted import printable
from lip_plugin.zoo import ModelCard

_NAME = re.compile(r"[A-Z][A-Za-z-]*(19|20)[0-9]{2}_?[A-Za-z][A-Za-z0-9]*([_.+-][A-Za-z0-9]+)*")
"""``<Author><Year><FirstWordOfTitle>[_<architecture>]``; nothing of theirs minds an underscore after the year."""


class RobustBenchBoard(Board):
    """Full, unskipped, standard AutoAttack at 0.5 on the whole test set."""

    name = "robustbench"
    title = "RobustBench, L2"
    radii = (EPS,)
    attacks = (ATTACK,)
    full_protocol = True

    def refusals_before(
        self, card: ModelCard, model: CertifiedClassifier, images: LabelledImages
    ) -> tuple[Refusal, ...]:
        found = summarise_images(images)
        known = [*_of_card(card), *_of_dataset(card, found.name)]
        test_set = whole_split(find_dataset(found.name))
        if test_set is not None:
            network = [*_of_network(model, test_set)]
            known += [*network, *split_refusals(found)]
            fits = images.image_shape == model.input_shape and len(images) >= FAST_TEST_IMAGES
            if fits and not network:
                known += _of_clean_accuracy(_clean_accuracy(model, images.first(FAST_TEST_IMAGES)), test_set)
        return tuple(known)

    def refusals_after(self, submission: Submission) -> tuple[Refusal, ...]:
        report = submission.report
        known = [*_of_card(submission.card), *_of_dataset(submission.card, report.dataset.name)]
        test_set = whole_split(find_dataset(report.dataset.name))
        if test_set is not None:
            known += _of_network(submission.model, test_set)
            known += split_refusals(report.dataset)
            known += _of_clean_accuracy(_clean_accuracy_in(submission.points), test_set)
        return (*known, *_of_protocol(report))


def _of_card(card: ModelCard) -> Iterator[Refusal]:
    if not _NAME.fullmatch(card.name):
        shown = repr(printable(card.name, longest=80))
        yield Refusal("name", shown, "<Author><Year><FirstWordOfTitle>, such as Rice2020Overfitting_RN18")
    if card.additional_data is None:
        yield Refusal("additional data", "nothing on the card", "additional_data: true or false")


def _of_dataset(card: ModelCard, images: str) -> Iterator[Refusal]:
    record = find_dataset(images)
    if whole_split(record) is None:
        facts = None if record is None else record.robustbench
        own = "" if facts is None else facts.own_choice
        why = f" (RobustBench evaluates {own}, which cannot be selected here yet)" if own else ""
        yield Refusal("data set", printable(images, longest=80) + why, " or ".join(evaluated_names()))
    if (card.dataset or OWN_IMAGES) != images:
        shown = "none" if card.dataset is None else printable(card.dataset, longest=80)
        yield Refusal("data set of the card", shown, f"that of the images, {printable(images, longest=80)}")


def _of_network(model: CertifiedClassifier, test_set: WholeSplit) -> Iterator[Refusal]:
    if model.input_shape != test_set.image_shape:
        yield Refusal("input", _shape(model.input_shape), _shape(test_set.image_shape))
    if model.num_classes != test_set.num_classes:
        yield Refusal("classes", str(model.num_classes), str(test_set.num_classes))
    if model.dtype != torch.float32:
        yield Refusal("numbers", f"weights in {str(model.dtype)[6:]}", "float32, as RobustBench's images are")
    try:
        network_blocks(model)
    except UnsupportedLayerError as error:
        yield Refusal("architecture", str(error), "operators that plain torch has")


def _of_clean_accuracy(share: float, test_set: WholeSplit) -> Iterator[Refusal]:
    """Rounded and compared as the test does."""
    percent = round(100 * share, 2)
    if not percent > test_set.clean_accuracy:
        rule = f"clean accuracy on the first {FAST_TEST_IMAGES} images"
        yield Refusal(rule, f"{percent} %", f"more than {test_set.clean_accuracy:g} %")


def _of_protocol(report: ReportValues) -> Iterator[Refusal]:
    if report.attacks != (ATTACK,):
        found = printable(", ".join(report.attacks), longest=200) or "none"
        yield Refusal("attack", found, f"{ATTACK}, the standard version, alone")
    if EPS not in [result.eps for result in report.eps]:
        found = ", ".join(format_eps(result.eps) for result in report.eps)
        yield Refusal("radius", found, format_eps(EPS))
    if report.skipped_certified:
        yield Refusal("protocol", "certified images were not attacked", "every correctly classified image is attacked")


def _clean_accuracy(model: CertifiedClassifier, images: LabelledImages) -> float:
    right = 0
    with torch.no_grad():
        for x, y in images.blocks(FAST_TEST_IMAGES, model.dtype):
            right += int((model(x.to(model.device)).argmax(1).cpu() == y).sum())
    return right / len(images)


def _clean_accuracy_in(points: PointsTable) -> float:
    first = list(zip(points.label, points.prediction, strict=True))[:FAST_TEST_IMAGES]
    return sum(label == prediction for label, prediction in first) / len(first)


def _shape(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))
