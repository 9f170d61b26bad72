"""Every rule of every board, kept and broken: before anything is evaluated, and afterwards."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, NoReturn

import numpy as np
import pytest
import torch

import lip_plugin as lp
from lip_plugin.certificates import LipschitzBound
from lip_plugin.data import ImageSet, list_datasets
from lip_plugin.evaluate import DatasetSummary
from lip_plugin.network import Flatten
from lip_plugin.submission.boards import Refusal
from lip_plugin.submission.boards.registry import BOARDS, get_board
from lip_plugin.submission.boards.robustbench import RobustBenchBoard
from lip_plugin.submission.boards.sok import SokBoard
from lip_plugin.submission.sok import settings_of
from lip_plugin.types import Shape

from .claims import card, images, labels, network, submission, summary

ROBUSTBENCH, SOK = RobustBenchBoard(), SokBoard()
TRUTH = labels()
IMAGES = images(TRUTH)


@pytest.fixture(autouse=True)
def named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Images are taken for what they are called, since they are made up: how they are told is for another file."""

    def told(images: ImageSet) -> DatasetSummary:
        return summary(images.name, images.labels, split=images.split)

    for board in ("robustbench", "sok"):
        monkeypatch.setattr(f"lip_plugin.submission.boards.{board}.summarise_images", told)


def one(refusals: Sequence[Refusal]) -> tuple[str, str, str]:
    """The only refusal there is: rule, what came, what was expected."""
    (refusal,) = refusals
    assert str(refusal) == f"{refusal.rule}: found {refusal.found}, expected {refusal.expected}"
    return refusal.rule, refusal.found, refusal.expected


def rules(refusals: Sequence[Refusal]) -> set[str]:
    return {refusal.rule for refusal in refusals}


# -- RobustBench ----------------------------------------------------------------------------------


def test_robustbench_takes_a_full_evaluation_of_the_whole_test_set() -> None:
    model = network()
    assert ROBUSTBENCH.refusals_before(card(model), model, IMAGES) == ()
    assert ROBUSTBENCH.refusals_after(submission()) == ()


def test_robustbench_takes_cifar100() -> None:
    truth, model = labels(classes=100, first=()), network(100)
    described = card(model, dataset="cifar100")
    assert ROBUSTBENCH.refusals_before(described, model, images(truth, name="cifar100")) == ()
    assert ROBUSTBENCH.refusals_after(submission(model, truth=truth, dataset="cifar100")) == ()


def test_what_robustbench_prescribes() -> None:
    assert ROBUSTBENCH.radii == (0.5,) and ROBUSTBENCH.attacks == ("autoattack",) and ROBUSTBENCH.full_protocol


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"name": "my model"}, ("name", "'my model'", "Rice2020Overfitting_RN18")),
        ({"name": "Rice2020"}, ("name", "'Rice2020'", "Year")),
        ({"name": "Rice1820Over"}, ("name", "'Rice1820Over'", "Year")),
        ({"additional_data": None}, ("additional data", "nothing on the card", "true or false")),
        ({"dataset": None}, ("data set of the card", "none", "cifar10")),
        ({"dataset": "cifar100"}, ("data set of the card", "cifar100", "cifar10")),
    ],
)
def test_robustbench_reads_the_card(change: dict[str, Any], expected: tuple[str, str, str]) -> None:
    model = network()
    before = one(ROBUSTBENCH.refusals_before(card(model, **change), model, IMAGES))
    assert before[:2] == expected[:2] and expected[2] in before[2]
    if "dataset" not in change:  # which is the images', too, in a submission that is made up
        assert one(ROBUSTBENCH.refusals_after(submission(**change))) == before


@pytest.mark.parametrize(
    "name",
    ["Rice2020Overfitting", "Wang2023Better_WRN-70-16", "Augustin2020Adversarial_34_10", "LipPlugin2026_LiResNet_S"],
)
def test_names_in_use_are_in_form(name: str) -> None:
    assert ROBUSTBENCH.refusals_after(submission(name=name)) == ()


@pytest.mark.parametrize("dataset", ["fashion_mnist", "tiny_imagenet", "imagenet"])
def test_robustbench_has_other_data_sets(dataset: str) -> None:
    model = network()
    rule, found, expected = one(
        ROBUSTBENCH.refusals_before(card(model, dataset=dataset), model, images(TRUTH, name=dataset))
    )
    assert (rule, expected) == ("data set", "cifar10 or cifar100")
    assert found.startswith(dataset)
    assert ("5,000 validation images of its own choice" in found) == (dataset == "imagenet")
    assert one(ROBUSTBENCH.refusals_after(submission(dataset=dataset))) == (rule, found, expected)


@pytest.mark.parametrize(
    ("model", "rule", "found", "expected"),
    [
        (network(10, (3, 16, 16)), "input", "3 x 16 x 16", "3 x 32 x 32"),
        (network(11), "classes", "11", "10"),
        (network(dtype=torch.float64), "numbers", "weights in float64", "float32"),
    ],
)
def test_robustbench_has_images_and_classes_of_its_own(model: Any, rule: str, found: str, expected: str) -> None:
    before = one(ROBUSTBENCH.refusals_before(card(model), model, IMAGES))
    assert before[:2] == (rule, found) and before[2].startswith(expected)
    assert one(ROBUSTBENCH.refusals_after(submission(model))) == before


def test_robustbench_wants_operators_that_plain_torch_has(monkeypatch: pytest.MonkeyPatch) -> None:
    def without(operator: Flatten, input_shape: Shape) -> NoReturn:
        raise lp.UnsupportedLayerError(f"operator {operator.kind!r} has no form in plain torch")

    monkeypatch.setattr(Flatten, "plain_layer", without)
    model = network()
    before = one(ROBUSTBENCH.refusals_before(card(model), model, IMAGES))
    assert before[0] == "architecture" and "'flatten'" in before[1]
    assert one(ROBUSTBENCH.refusals_after(submission(model))) == before


@pytest.mark.parametrize(("wrong", "refused"), [(59, False), (60, True), (200, True)])
def test_the_fast_test_wants_more_than_70_percent_of_200(wrong: int, refused: bool) -> None:
    model = network()
    before = ROBUSTBENCH.refusals_before(card(model), model, images(TRUTH, wrong=wrong))
    assert ROBUSTBENCH.refusals_after(submission(wrong=wrong)) == before
    assert bool(before) == refused
    if refused:
        found = f"{round((200 - wrong) / 2, 2)} %"
        assert one(before) == ("clean accuracy on the first 200 images", found, "more than 70 %")


@pytest.mark.parametrize(("wrong", "refused"), [(109, False), (110, True)])
def test_cifar100_has_a_threshold_of_its_own(wrong: int, refused: bool) -> None:
    truth = labels(classes=100, first=())
    claim = submission(network(100), truth=truth, dataset="cifar100", wrong=wrong)
    assert rules(ROBUSTBENCH.refusals_after(claim)) == (
        {"clean accuracy on the first 200 images"} if refused else set()
    )


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (
            {"attacks": ("autoattack:apgd-t",)},
            ("attack", "autoattack:apgd-t", "autoattack, the standard version, alone"),
        ),
        ({"attacks": ("autoattack", "x")}, ("attack", "autoattack, x", "autoattack, the standard version, alone")),
        ({"attacks": ()}, ("attack", "none", "autoattack, the standard version, alone")),
        ({"eps": (36 / 255, 1.0)}, ("radius", "36/255, 1", "0.5")),
        (
            {"skipped": True},
            ("protocol", "certified images were not attacked", "every correctly classified image is attacked"),
        ),
    ],
)
def test_robustbench_wants_full_autoattack(settings: dict[str, Any], expected: tuple[str, str, str]) -> None:
    assert one(ROBUSTBENCH.refusals_after(submission(**settings))) == expected


def test_every_broken_rule_is_named() -> None:
    found = ROBUSTBENCH.refusals_after(
        submission(name="x", truth=TRUTH[:300], wrong=290, attacks=(), eps=(0.3,), skipped=True)
    )
    assert rules(found) == {
        "name",
        "images of CIFAR-10",
        "clean accuracy on the first 200 images",
        "attack",
        "radius",
        "protocol",
    }


def test_images_of_another_shape_are_no_crash() -> None:
    model = network(10, (1, 28, 28))
    found = ROBUSTBENCH.refusals_before(card(model), model, images(TRUTH[:5]))
    assert rules(found) == {"input", "images of CIFAR-10"}


def test_hostile_names_stay_on_one_line() -> None:
    claim = submission(attacks=("x\ny",), name="n" * 150)
    named = dataclasses.replace(claim.report.dataset, name="a\x1b[2Jb" * 40)
    claim = dataclasses.replace(claim, report=dataclasses.replace(claim.report, dataset=named))
    assert rules(ROBUSTBENCH.refusals_after(claim)) == {"name", "data set", "data set of the card", "attack"}
    assert all(str(refusal).isprintable() and len(str(refusal)) < 400 for refusal in ROBUSTBENCH.refusals_after(claim))
    assert all(str(refusal).isprintable() for refusal in SOK.refusals_after(claim))


# -- SoK ------------------------------------------------------------------------------------------


def test_sok_takes_a_certified_test_set_without_attacks() -> None:
    model = network()
    assert SOK.refusals_before(card(model), model, IMAGES) == ()
    assert SOK.refusals_after(submission(attacks=(), skipped=True)) == ()
    of_sets = {eps for dataset in list_datasets() for eps in settings_of(dataset)}
    assert of_sets == set(SOK.radii)
    assert SOK.radii == (36 / 255, 0.25, 1.0, 2.0) and SOK.attacks is None and not SOK.full_protocol


@pytest.mark.parametrize("dataset", ["fashion_mnist", "cifar100"])
def test_sok_has_other_data_sets(dataset: str) -> None:
    model = network()
    expected = ("data set", dataset, "cifar10 or imagenet")
    before = SOK.refusals_before(card(model, dataset=dataset), model, images(TRUTH, name=dataset))
    assert one(before) == expected
    assert one(SOK.refusals_after(submission(dataset=dataset))) == expected


def test_sok_wants_the_card_to_be_of_the_images() -> None:
    model = network()
    rule, found, _ = one(SOK.refusals_before(card(model, dataset="cifar100"), model, IMAGES))
    assert (rule, found) == ("data set of the card", "cifar100")


def test_sok_wants_all_of_imagenets_validation_split() -> None:
    few, whole = (submission(truth=np.zeros(count, np.int64), dataset="imagenet") for count in (500, 50_000))
    found = "500 of 50,000 images of imagenet (test), the first in file order, 1 of 1,000 classes"
    expected = ("images of ImageNet", found, "all 50,000 images of the validation split, in file order")
    assert one(SOK.refusals_after(few)) == expected
    assert SOK.refusals_after(whole) == ()


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"eps": (0.5,)}, ("radius", "0.5", "at least one of 36/255, 0.25, 1, 2")),
        ({"arithmetic": "estimate"}, ("arithmetic", "estimate", "real or float64 or float32 or forward")),
        (
            {"bound": LipschitzBound(3.5, (), "power iteration (estimate)")},
            ("certificate", "3.5 by power iteration (estimate)", "a proved, finite Lipschitz bound"),
        ),
        (
            {"bound": LipschitzBound(float("inf"), (), "product")},
            ("certificate", "inf by product", "a proved, finite Lipschitz bound"),
        ),
        (
            {"status": "failed"},
            ("certificate", "an evaluation that ended as failed", "one without contradictions"),
        ),
    ],
)
def test_sok_wants_a_proof(settings: dict[str, Any], expected: tuple[str, str, str]) -> None:
    assert one(SOK.refusals_after(submission(**settings))) == expected


@pytest.mark.parametrize("arithmetic", ["real", "float64", "float32", "forward"])
def test_sok_takes_every_arithmetic_in_which_something_is_proved(arithmetic: str) -> None:
    assert SOK.refusals_after(submission(arithmetic=arithmetic)) == ()


# -- all of them ----------------------------------------------------------------------------------


def test_boards_by_name() -> None:
    assert [board.name for board in BOARDS] == ["own", "robustbench", "sok"]
    assert all(get_board(board.name) is board and board.title for board in BOARDS)
