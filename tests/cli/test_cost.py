"""`lip cost` says what the cost model does, and refuses in one line what it cannot know."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lip_plugin.cost.subject import subject_of

Lip = Callable[..., Any]
SMALL = ("cifar10_small", "model.width=8", "model.depth=1", "model.dense_width=16", "bfloat16=false", "batch_size=8")


def test_a_recipe_is_told_in_operations_bytes_and_time(lip: Lip) -> None:
    speed = ("--speed", "float32=1e6,float64=1e6", "--images", "20", "--train-images", "80")
    told = lip("cost", *SMALL, "epochs=2", *speed, "--processes", "2")
    assert (told.code, told.err) == (0, ""), told
    subject = subject_of(SMALL[0], SMALL[1:], processes=2)
    network, step = subject.network, subject.step
    assert step is not None and step.batch == 4
    forward, proof = network.forward.total() / 1e9, network.proof.total() / 1e6
    assert re.search(rf"^forward of an image +- +{forward:,.4g} +-$", told.out, re.MULTILINE)
    assert re.search(r"^training step, whatever the batch +- ", told.out, re.MULTILINE)
    assert f"training step of 4 images in a process holds {step.peak / 1e6:.3g} MB" in told.out
    assert "autoattack     7,888\n" in told.out
    assert f"proof, by one alone: {proof:.3g} s" in told.out
    assert f"training, 2 epochs of 80 images: {2 * 10 * step.flops(4).total() / 1e6:.3g} s" in told.out


def test_a_model_has_no_training(lip: Lip, model_dir: Path) -> None:
    told = lip("cost", model_dir)
    assert (told.code, told.err) == (0, "")
    assert "certificate of an image" in told.out and "training" not in told.out


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("no_such",), "no_such"),
        ((*SMALL, "--processes", "3"), "is not shared by 3 processes"),
        ((*SMALL, "dataset=folder:pictures?size=32"), "would have to be read"),
        ((*SMALL, "--speed", "float16=1e9"), "is not DTYPE=N"),
        ((*SMALL, "--speed", "float32=-1"), "is not DTYPE=N"),
        ((*SMALL, "--speed", "float32=1e9"), "says nothing of float64"),
        ((*SMALL, "--train-images", "80"), "give a recipe and --speed"),
        (("LipPlugin2026_LiResNet_Demo", "model.width=4"), "has no settings to override"),
    ],
)
def test_what_cannot_be_told_is_refused_in_one_line(lip: Lip, words: tuple[str, ...], told: str) -> None:
    outcome = lip("cost", *words)
    assert (outcome.code, outcome.out) == (2, ""), outcome
    assert told in outcome.err and len(outcome.err.splitlines()) == 1
