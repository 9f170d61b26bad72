"""``lip submit`` from end to end, and everything that it refuses, before and after the work."""

from __future__ import annotations

import csv
import dataclasses
import importlib
import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import lip_plugin as lp
from lip_plugin.data import LabelledImages, load_npz
from lip_plugin.network import CertifiedClassifier
from lip_plugin.schema import read_report
from lip_plugin.schema.kinds import MOST_EPS
from lip_plugin.submission.boards import registry
from lip_plugin.submission.boards.board import Board, Refusal
from lip_plugin.submission.evaluation import submission_eps
from lip_plugin.submission.manifest import read_manifest
from lip_plugin.submission.perturbations import read_perturbations
from lip_plugin.submission.submission import Submission
from lip_plugin.zoo import ModelCard

ATTACK = "autoattack:apgd-ce"
SMILE = "\U0001f600"  # four bytes


class StrictBoard(Board):
    """Prescribes one attack, and refuses when told to."""

    name = "strict"
    title = "Strict"
    radii = (0.3,)
    attacks = (ATTACK,)
    full_protocol = True

    def __init__(self) -> None:
        self.before: tuple[Refusal, ...] = ()
        self.after: tuple[Refusal, ...] = ()

    def refusals_before(
        self, card: ModelCard, model: CertifiedClassifier, images: LabelledImages
    ) -> tuple[Refusal, ...]:
        return self.before

    def refusals_after(self, submission: Submission) -> tuple[Refusal, ...]:
        return self.after


@pytest.fixture
def strict(monkeypatch: pytest.MonkeyPatch) -> StrictBoard:
    board = StrictBoard()
    monkeypatch.setattr(registry, "BOARDS", (*registry.BOARDS, board))
    return board


@pytest.fixture
def submit(lip: Any, model_dir: Path, data_file: Path, tmp_path: Path) -> Any:
    """submit(*options): the tiny model, unless there is another one, with a cheap attack, into tmp_path/out."""

    def call(*options: object, board: str = "own", attacks: str = ATTACK, model: Path = model_dir) -> Any:
        given = ["submit", model, "--board", board, "--data", data_file, "--out", tmp_path / "out"]
        return lip(*given, "--attacks", attacks, "--audit", 1, *options)

    return call


@pytest.fixture
def described(model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """described(**fields): the tiny model with these fields in its card."""

    def copied(**fields: object) -> Path:
        directory = tmp_path_factory.mktemp("described") / "model"
        shutil.copytree(model_dir, directory)
        card = json.loads((directory / "card.json").read_text("utf-8"))
        (directory / "card.json").write_text(json.dumps({**card, **fields}), "utf-8")
        return directory

    return copied


@pytest.fixture
def no_attack(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lip_plugin.cli.task.evaluate_images", lambda *_, **__: pytest.fail("attacked all the same"))


def test_a_bundle_from_end_to_end(submit: Any, model_dir: Path, data_file: Path, tmp_path: Path) -> None:
    outcome = submit("--eps", "0.1,0.3", "--n", 20, "--batch-size", 8)
    assert (outcome.code, outcome.err) == (0, "")
    out = tmp_path / "out"
    assert f"survives {ATTACK}" in outcome.out
    assert f"lip verify {out} --data {data_file}" in outcome.out
    manifest = read_manifest(out)
    assert (manifest.board, manifest.n) == ("own", 20)
    assert lp.load_model(out / "model").digest == lp.load_model(model_dir).digest
    report = json.loads((out / "report/report.json").read_text("utf-8"))
    assert [result["eps"] for result in report["eps"]] == [0.1, 0.3]
    assert (report["model"]["name"], report["dataset"]["n"]) == ("tiny", 20)
    assert report["request"]["command"].startswith("lip compare MODEL_DIR --data images.npz --n 20 --eps 0.1,0.3")
    rows = list(csv.DictReader(io.StringIO((out / "report/points.csv").read_text("utf-8"))))
    found = read_perturbations(out / "adversarial.safetensors", images=20, image_shape=(1, 4, 4), dtype=torch.float32)
    assert found.index.tolist() == [i for i, row in enumerate(rows) if row["adversarial_distance"]]
    for board in registry.BOARDS:
        said = "would take it" if board.name == "own" else "would refuse it: "
        assert f"\n{board.title} {said}" in outcome.out
    assert not list(tmp_path.glob(".lip-*"))


def test_a_model_that_nothing_breaks_makes_a_bundle(submit: Any, tmp_path: Path) -> None:
    assert submit("--eps", "1e-6", "--n", 3).code == 0
    found = read_perturbations(
        tmp_path / "out/adversarial.safetensors", images=3, image_shape=(1, 4, 4), dtype=torch.float32
    )
    assert len(found) == 0


def test_the_usual_radii_are_evaluated_unless_others_are_asked_for(strict: StrictBoard, model_dir: Path) -> None:
    card = lp.model_card(str(model_dir))
    own = registry.get_board("own")
    assert submission_eps(own, card, None) == (0.1, 36 / 255, 72 / 255, 108 / 255, 0.5)
    assert submission_eps(own, card, (0.2,)) == (0.2,)
    assert submission_eps(strict, card, None) == (0.1, 36 / 255, 72 / 255, 0.3, 108 / 255, 0.5)


def test_a_board_gets_the_protocol_that_it_prescribes(strict: StrictBoard, submit: Any, tmp_path: Path) -> None:
    outcome = submit("--n", 4, board="strict")
    assert outcome.code == 0, outcome.err
    report = json.loads((tmp_path / "out/report/report.json").read_text("utf-8"))
    assert report["skipped_certified"] is False
    assert 0.3 in [result["eps"] for result in report["eps"]]


@pytest.mark.usefixtures("no_attack")
def test_what_is_known_to_be_refused_is_refused_before_the_work(
    strict: StrictBoard, submit: Any, tmp_path: Path
) -> None:
    strict.before = (Refusal("data set", "images", "cifar10"), Refusal("number of images", "24", "10000"))
    outcome = submit(board="strict")
    assert outcome.code == 1
    assert outcome.err == (
        "lip: board strict would refuse this: data set: found images, expected cifar10; "
        "number of images: found 24, expected 10000\n"
    )
    assert list(tmp_path.iterdir()) == []


def test_what_is_refused_after_the_work_leaves_nothing_behind(strict: StrictBoard, submit: Any, tmp_path: Path) -> None:
    strict.after = (Refusal("robust accuracy", "0", "more"),)
    outcome = submit("--n", 4, board="strict")
    assert outcome.code == 1
    assert outcome.err == "lip: board strict would refuse this: robust accuracy: found 0, expected more\n"
    assert f"survives {ATTACK}" in outcome.out  # hours of work are at least shown
    assert list(tmp_path.iterdir()) == []


def test_robustbench_refuses_fashion_mnist(lip: Any, tmp_path: Path) -> None:
    outcome = lip("submit", "LipPlugin2026_LiResNet_Demo", "--board", "robustbench", "--out", tmp_path / "out")
    assert outcome.code == 1
    assert outcome.err.startswith("lip: board robustbench would refuse this: ") and outcome.err.count("\n") == 1
    assert "fashion_mnist" in outcome.err
    assert list(tmp_path.iterdir()) == []


def test_a_contradicted_certificate_is_shown_and_never_written(
    submit: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = importlib.import_module("lip_plugin.evaluate.evaluation")
    certify = module.certify_together

    def too_large(*arguments: Any, **settings: Any) -> Any:
        certificate = certify(*arguments, **settings)
        return dataclasses.replace(certificate, radius=certificate.radius * 3)

    monkeypatch.setattr(module, "certify_together", too_large)
    outcome = submit("--eps", "0.3")
    assert outcome.code == 1
    assert outcome.err.startswith("lip: unsound certificate: image ")
    assert "FAILED" in outcome.out
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "settings", "problem"),
    [
        ((), {"board": "robustbenhc"}, "no board 'robustbenhc'; known: own, robustbench, sok, strict. Did you mean"),
        (("--eps", "0.1"), {"board": "strict"}, "board strict prescribes the radii; leave out --eps"),
        (
            (),
            {"board": "strict", "attacks": "autoattack"},
            f"strict prescribes --attacks {ATTACK}, got autoattack",
        ),
        (("--n", 25), {}, "asked for 25 images"),
        (("--eps", "far"), {}, "eps 'far' is not a number"),
        (("--audit", "-1"), {}, "audit '-1' is not a number"),
        ((), {"attacks": "nothing"}, "no attack library 'nothing'"),
        (("--data-dir", "."), {}, "exclude each other"),
        (("--arithmetic", "exact"), {}, "exact"),
        (("--device", "nowhere"), {}, "nowhere"),
    ],
)
def test_bad_input_is_one_line(
    strict: StrictBoard, submit: Any, tmp_path: Path, options: Any, settings: Any, problem: str
) -> None:
    outcome = submit(*options, **settings)
    assert outcome.code == 2
    assert problem in outcome.err and outcome.err.count("\n") == 1, outcome.err
    assert list(tmp_path.iterdir()) == []


def radii(count: int) -> list[float]:
    return [number * 1e-6 for number in range(1, count + 1)]


def test_as_many_radii_as_verify_reads(submit: Any, tmp_path: Path) -> None:
    assert submit("--eps", ",".join(map(repr, radii(MOST_EPS))), "--n", 2, "--audit", 0).code == 0
    assert len(read_report(tmp_path / "out/report/report.json").eps) == MOST_EPS


@pytest.mark.usefixtures("no_attack")
def test_more_radii_than_verify_reads(submit: Any, described: Callable[..., Path], tmp_path: Path) -> None:
    for outcome, problem in (
        (submit("--eps", ",".join(map(repr, radii(70)))), "70 radii in all, those of --eps and the board's; "),
        (submit(model=described(eps_grid=radii(61))), "65 radii in all, the card's, the usual and the board's; "),
    ):
        assert outcome.code == 2
        assert outcome.err == f"lip: {problem}a bundle holds at most 64\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("no_attack")
@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("x_adv", "'x_adv' names a file of every bundle, robustbench/x_adv.pt; give the model another name"),
        ("X_Adv", "'X_Adv' names a file of every bundle, robustbench/x_adv.pt; give the model another name"),
        ("n" * 196, f"'{'n' * 80}...' cannot name files of a bundle; give the model a shorter name"),
        (SMILE * 63, f"'{SMILE * 63}' cannot name files of a bundle; give the model a shorter name"),
    ],
    ids=["x_adv", "X_Adv", "196 characters", "257 bytes"],
)
def test_a_model_needs_a_name_that_files_can_have(
    submit: Any, described: Callable[..., Path], tmp_path: Path, name: str, problem: str
) -> None:
    outcome = submit("--include-images", model=described(name=name))
    assert (outcome.code, outcome.err) == (2, f"lip: {problem}\n")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["n" * 195, SMILE * 62], ids=["195 characters", "253 bytes"])
def test_a_name_may_be_as_long_as_files_allow(
    submit: Any, described: Callable[..., Path], tmp_path: Path, name: str
) -> None:
    outcome = submit("--eps", "0.1", "--n", 2, model=described(name=name))
    assert (outcome.code, outcome.err) == (0, "")
    assert {f"robustbench/{name}.pt", f"robustbench/model_info/own images/L2/{name}.json"} <= set(
        read_manifest(tmp_path / "out").files
    )


@pytest.mark.usefixtures("no_attack")
@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("odd\u202ename", "cannot name images in a bundle; give the file a short, printable name"),
        ("a<b", "'a<b' cannot name images in a bundle; give the file a name without < and >"),
        ("a>b", "'a>b' cannot name images in a bundle; give the file a name without < and >"),
    ],
)
def test_images_need_a_name_that_a_bundle_can_hold(
    submit: Any, data_file: Path, tmp_path: Path, name: str, problem: str
) -> None:
    odd = tmp_path / f"{name}.npz"
    odd.write_bytes(data_file.read_bytes())
    outcome = submit("--data", odd)
    assert outcome.code == 2
    assert problem in outcome.err and outcome.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == [odd]


@pytest.mark.usefixtures("no_attack")
def test_the_name_of_images_is_measured_in_bytes(
    submit: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data_file: Path
) -> None:
    named = dataclasses.replace(load_npz(data_file), name=SMILE * 64)  # no file can be called that
    monkeypatch.setattr("lip_plugin.cli.task.select_images", lambda *_, **__: named)
    outcome = submit()
    assert outcome.code == 2
    assert "cannot name images in a bundle; give the file a short" in outcome.err and outcome.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("said", "shown"), [("Title: ", "Title:"), (" : ", ":"), (" \n", None)], ids=["colon and space", "colon", "blank"]
)
def test_what_a_card_says_may_end_in_space(
    submit: Any, described: Callable[..., Path], tmp_path: Path, said: str, shown: str | None
) -> None:
    model = described(paper=said, authors=said, architecture=said)
    assert submit("--eps", "0.1", "--n", 2, model=model).code == 0
    lines = (tmp_path / "out/robustbench/new_model.md").read_text("utf-8").splitlines()
    name = json.loads((model / "card.json").read_text("utf-8"))["name"]
    assert f"- **Paper Title**: {shown or name}" in lines
    assert f"- **Paper authors**: {shown or 'not stated'}" in lines
    assert f"- **Architecture**: {shown or 'not stated'}" in lines


def test_out_is_checked_before_the_work(submit: Any, tmp_path: Path) -> None:
    mine = tmp_path / "out"
    mine.mkdir()
    (mine / "README.md").write_text("mine")
    for options in ((), ("--overwrite",)):
        outcome = submit(*options)
        assert outcome.code == 2
        assert outcome.out == ""  # nothing was evaluated
    assert [path.name for path in mine.iterdir()] == ["README.md"]


def test_a_second_bundle_takes_the_place_of_the_first(submit: Any, tmp_path: Path) -> None:
    assert submit("--eps", "0.1", "--n", 3).code == 0
    assert submit("--eps", "0.1", "--n", 4).code == 2
    assert read_manifest(tmp_path / "out").n == 3
    assert submit("--eps", "0.1", "--n", 4, "--overwrite", "--include-images").code == 0
    assert read_manifest(tmp_path / "out").n == 4
    assert np.load(tmp_path / "out/images.npz")["x"].shape == (4, 1, 4, 4)


@pytest.mark.parametrize("missing", [("submit",), ("submit", "tiny"), ("submit", "tiny", "--board", "own")])
def test_what_must_be_given(lip: Any, missing: tuple[str, ...]) -> None:
    outcome = lip(*missing)
    assert outcome.code == 2
    assert "Missing" in outcome.err and outcome.err.count("\n") == 1
