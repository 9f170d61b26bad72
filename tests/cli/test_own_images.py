"""Images of one's own on the command line, and which of them: always a command that gives the report again."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import lip_plugin as lp

from .test_bad_input import refused

Image: Any = pytest.importorskip("PIL.Image")
pytest.importorskip("torchvision")

Lip = Any


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """``val/<class>/*``: three classes of four pictures of 9 x 7 pixels."""
    generator = np.random.default_rng(3)
    for number in range(12):
        path = tmp_path / "my pics" / "val" / f"class{number % 3}" / f"{number:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(generator.integers(0, 256, (7, 9, 3), np.uint8)).save(path)
    return tmp_path / "my pics"


@pytest.fixture
def colour_model(tmp_path: Path) -> Path:
    """A linear classifier of 3 classes on 4x4 colour images, saved with a card that names no data set."""
    torch.manual_seed(0)
    head = nn.Linear(48, 3)
    lp.wrap(nn.Flatten().eval(), head.eval(), input_shape=(3, 4, 4)).save(tmp_path / "colour")
    return tmp_path / "colour"


CHOICES = [
    (["--every", "5"], 3),
    (["--every", "2", "--n", "4"], 4),
    (["--sample", "7", "--seed", "3"], 7),
    (["--sample", "7"], 7),
    ([], 12),
]


@pytest.mark.parametrize(("options", "count"), CHOICES)
@pytest.mark.parametrize("verb", [["certify"], ["compare", "--attacks", "autoattack:square?n_queries=5"]])
def test_the_command_names_the_images_again(
    verb: list[str], options: list[str], count: int, lip: Lip, colour_model: Path, pictures: Path
) -> None:
    data = f"folder:{pictures}?size=4"
    first = json.loads(lip(*verb, colour_model, "--data", data, "--eps", "0.1", "--json", *options).out)
    assert first["dataset"]["n"] == count and first["data"]["taken"] == 12
    words = shlex.split(first["request"]["command"])
    assert "folder:my pics?size=4" in words and not any(str(pictures.parent) in word for word in words)
    paths = {"MODEL_DIR": str(colour_model), "folder:my pics?size=4": data}
    second = json.loads(lip(*(paths.get(word, word) for word in words[1:]), "--json").out)
    assert {**first, "cost": None} == {**second, "cost": None}


def test_a_choice_is_of_the_whole(lip: Lip, model_dir: Path, data_file: Path, tmp_path: Path) -> None:
    """Radii and labels of the chosen images are those that the whole has at their places."""

    def rows(name: str, *options: str) -> list[str]:
        out = tmp_path / name
        assert lip("certify", model_dir, "--data", f"npz:{data_file}", "--eps", "0.1", "--out", out, *options).code == 0
        return [line.split(",", 1)[1] for line in (out / "points.csv").read_text().splitlines()[1:]]

    whole = rows("whole")
    assert rows("every", "--every", "5") == whole[::5]
    places = np.sort(np.argsort(np.random.PCG64(4).random_raw(24))[:6])
    assert rows("sample", "--sample", "6", "--seed", "4") == [whole[place] for place in places]


def test_what_is_left_out_is_said(lip: Lip, colour_model: Path, pictures: Path) -> None:
    (pictures / "val" / "class1" / "notes.txt").write_text("")
    (pictures / "val" / ".DS_Store").write_text("")
    outcome = lip("certify", colour_model, "--data", f"folder:{pictures}", "--eps", "0.1", "--json")
    assert outcome.code == 0
    assert json.loads(outcome.out)["data"]["left_out"] == {"hidden": 1, "of the kind .txt": 1}
    printed = lip("certify", colour_model, "--data", f"folder:{pictures}", "--eps", "0.1").out
    words = "12 pictures, 3 classes by folder names in the order of their text; left out: 1 hidden, 1 of the kind .txt."
    assert words in " ".join(printed.split())


def test_how_many_of_how_many_classes(lip: Lip, colour_model: Path, pictures: Path, tmp_path: Path) -> None:
    """First line, page and ``report.json``; the network knows three classes."""
    options = ("certify", colour_model, "--data", f"folder:{pictures}", "--eps", "0.1")
    for more, words in (
        ((), "all 12 own images, 3 of 3 classes"),
        (("--n", "6"), "6 of 12 own images, 2 of 3 classes"),
    ):
        outcome = lip(*options, *more, "--out", tmp_path / words[:3], "--json")
        dataset = json.loads(outcome.out)["dataset"]
        assert (dataset["of"], dataset["of_classes"]) == (12, 3)
        assert words in " ".join(lip(*options, *more).out.split("\n")[0].split())
        assert words in (tmp_path / words[:3] / "report.md").read_text()
        shown = re.sub("<[^>]*>", "", (tmp_path / words[:3] / "report.html").read_text())
        assert f'{words}, called "folder:' in " ".join(shown.split())


def test_a_card_without_a_data_set(lip: Lip, model_dir: Path, data_file: Path, tmp_path: Path) -> None:
    refused(lip("certify", model_dir), "names no data set", "npz:FILE", "folder:DIR")
    refused(lip("certify", model_dir, "--dataset", "mnst", "--data-dir", tmp_path), "'mnst'", "Did you mean 'mnist'")
    refused(lip("certify", model_dir, "--dataset", "mnist", "--data-dir", tmp_path), "t10k-images-idx3-ubyte")
    refused(lip("certify", model_dir, "--data", "mnist", "--data-dir", tmp_path), "t10k-images-idx3-ubyte")
    outcome = lip("certify", model_dir, "--dataset", "mnist", "--data", data_file, "--eps", "0.1", "--json")
    assert json.loads(outcome.out)["dataset"]["name"] == "own images"
    refused(lip("certify", "LipPlugin2026_LiResNet_Demo", "--dataset", "mnist"), "no model")


def test_a_radius_in_levels_of_255_is_asked_about(
    lip: Lip, model_dir: Path, data_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for eps, said in (("36", True), ("1,3", False), ("36/255,0.5", False), ("36.5", False)):
        caplog.clear()
        assert lip("certify", model_dir, "--data", data_file, "--eps", eps, "--json").code == 0
        assert any("did you mean 36/255?" in line for line in caplog.messages) is said


@pytest.mark.parametrize(
    ("options", "fragments"),
    [
        (["--sample", "5", "--n", "3"], ["--sample excludes --n"]),
        (["--sample", "5", "--every", "3"], ["--sample excludes"]),
        (["--sample", "25"], ["sample of 25", "has 24"]),
        (["--every", "0"], ["--every"]),
        (["--every", "30", "--n", "2"], ["asked for 2 images", "has 1"]),
        (["--seed", "-1"], ["seed"]),
    ],
)
def test_choices_that_cannot_be_made(
    lip: Lip, model_dir: Path, data_file: Path, options: list[str], fragments: list[str]
) -> None:
    refused(lip("certify", model_dir, "--data", data_file, *options), *fragments)


def test_a_bundle_of_some_own_pictures_is_verified_with_the_words_it_gives(
    lip: Lip, colour_model: Path, pictures: Path, tmp_path: Path
) -> None:
    given = ["--data", f"folder:{pictures}?size=4", "--sample", "6", "--seed", "2"]
    options = ["--eps", "0.1", "--attacks", "autoattack:square?n_queries=5", "--out", tmp_path / "bundle"]
    made = lip("submit", colour_model, "--board", "own", *given, *options)
    assert made.code == 0, made.err
    line = next(line for line in made.out.splitlines() if line.startswith("Check it: "))
    words = shlex.split(line.removeprefix("Check it: "))
    assert lip(*words[1:]).code == 0
    assert lip("verify", tmp_path / "bundle", *given[:2], "--every", "2").code == 1
    shutil.rmtree(pictures / "val" / "class2")
    assert lip(*words[1:]).code == 1
