"""What boards take for a test split: images that are told by their digests, all of them, in file order."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from lip_plugin.data import DataSet
from lip_plugin.data.known import image_digests
from lip_plugin.submission.boards.robustbench import RobustBenchBoard
from lip_plugin.submission.boards.sok import SokBoard

from .claims import card, images, labels, network

IMAGES = images(labels(40))
BOARDS = pytest.mark.parametrize("board", [RobustBenchBoard(), SokBoard()], ids=["robustbench", "sok"])


@pytest.fixture(autouse=True)
def forty(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test split of CIFAR-10 is these 40 images."""
    digests = list(image_digests(np.asarray(IMAGES.pixels, np.uint8), IMAGES.labels.tolist()))

    def official(record: DataSet) -> list[bytes]:
        return digests if record.name == "cifar10" else []

    monkeypatch.setattr("lip_plugin.data.known.official_digests", official)


@pytest.mark.parametrize(
    ("part", "found"),
    [
        (slice(8), "8 of 40 images of cifar10 (test), the first in file order, 5 of 10 classes"),
        (slice(1, 9), "8 of 40 images of cifar10 (test), sampled, 5 of 10 classes"),
        (slice(None, None, -1), "all 40 images of cifar10 (test), in another order"),
    ],
    ids=["fewer", "sampled", "order"],
)
@BOARDS
def test_a_part_or_another_order_is_refused(board: RobustBenchBoard | SokBoard, part: slice, found: str) -> None:
    model = network()
    given = dataclasses.replace(IMAGES, pixels=IMAGES.pixels[part], labels=IMAGES.labels[part])
    of_images = [one for one in board.refusals_before(card(model), model, given) if one.rule == "images of CIFAR-10"]
    (refusal,) = of_images
    assert (refusal.found, refusal.expected) == (found, "all 10,000 images of the test split, in file order")


@BOARDS
def test_the_whole_split_is_taken(board: RobustBenchBoard | SokBoard) -> None:
    model = network()
    assert "images of CIFAR-10" not in {one.rule for one in board.refusals_before(card(model), model, IMAGES)}


@BOARDS
def test_no_images_are_what_their_file_is_called(board: RobustBenchBoard | SokBoard) -> None:
    model = network()
    before = board.refusals_before(card(model), model, images(labels(40), wrong=1))
    assert {(refusal.rule, refusal.found) for refusal in before} == {
        ("data set", "own images"),
        ("data set of the card", "cifar10"),
    }
    before = board.refusals_before(card(model).model_copy(update={"dataset": None}), model, images(labels(40), wrong=1))
    assert {refusal.rule for refusal in before} == {"data set"}, (
        "own images are what a card without a data set is about"
    )
