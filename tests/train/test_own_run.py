"""Training on one's own pictures: a card that tells what they are, and names no data set."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

import lip_plugin as lp
from lip_plugin.cli import run
from lip_plugin.zoo import read_card

Image: Any = pytest.importorskip("PIL.Image")
pytest.importorskip("torchvision")

CLASSES = ("dark", "light")
MODEL = {"architecture": "liresnet_pp", "depth": 1, "width": 4, "dense_width": 8, "dense_depth": 1, "neck_patch": 2}
RECIPE = {"model": MODEL, "eps": 0.1, "epochs": 2, "batch_size": 16, "learning_rate": 0.01, "eps_grid": [0.05]}
GREYS = (40, 200)


def _greys(count: int, seed: int) -> Any:
    """(count, 3, 8, 8) uint8 and labels: class 1 is light."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 2, count)
    return (np.array(GREYS)[labels][:, None, None, None] + generator.integers(-20, 20, (count, 3, 8, 8))), labels


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Both splits as pictures in class folders and as arrays, and a recipe."""
    arrays: dict[str, Any] = {}
    for seed, (split, folder, count) in enumerate((("train", "train", 96), ("test", "val", 20))):
        pixels, labels = _greys(count, seed)
        for index, (image, label) in enumerate(zip(pixels.astype(np.uint8), labels.tolist(), strict=True)):
            path = tmp_path / "pics" / folder / CLASSES[label] / f"{index:03}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image.transpose(1, 2, 0)).save(path)
        arrays |= {f"x_{split}": pixels.astype(np.uint8), f"y_{split}": labels}
    np.savez(tmp_path / "both.npz", **arrays)
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump({"dataset": "mnist", "augment": {"flip": False}, **RECIPE}))
    return tmp_path


def _trained(place: Path, dataset: str, *more: str) -> Path:
    options = [f"dataset={dataset}", "pictures.workers=0", *more, "--out", str(place / "model"), "--quiet"]
    assert run(["train", str(place / "tiny.yaml"), *options]) == 0
    return place / "model"


def test_on_class_folders(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = _trained(place, f"folder:{place / 'pics'}?size=8")
    card = read_card(out)
    assert (card.dataset, card.class_names, card.num_classes, card.input_shape) == (None, CLASSES, 2, (3, 8, 8))
    figures = card.measured.model_dump()
    assert figures["dataset"] == "own images" and figures["images"] == 20
    assert figures["command"].endswith("dataset=folder:pics?size=8 pictures.workers=0")
    assert str(place) not in (out / "card.json").read_text()
    trained = json.loads((out / "report.json").read_text())
    assert trained["data"] == {
        "taken": 20,
        "left_out": {},
        "classes": list(CLASSES),
        "numbered_by": "folder names in the order of their text",
    }
    capsys.readouterr()
    assert run(["certify", str(out), "--data", f"folder:{place / 'pics'}?size=8", "--eps", "0.05", "--json"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert again["clean_accuracy"] == trained["clean_accuracy"] > 0.9 and again["eps"][0] == trained["eps"][0]
    light = place / "pics" / "val" / "light"
    (light.parent / "dark").rename(place / "dark")  # the other class keeps the number that the network knows
    assert run(["certify", str(out), "--data", f"folder:{light.parent}?size=8", "--eps", "0.05", "--json"]) == 0
    part = json.loads(capsys.readouterr().out)
    assert part["clean_accuracy"] == 1.0 and part["dataset"]["classes"] == 1
    assert [row["label"] for row in part["statistics"]["classes"]] == [1]


def test_on_arrays_that_are_those_of_the_folders(place: Path) -> None:
    """The pixels are the same, and the order of the images is not."""
    out = _trained(place, f"npz:{place / 'both.npz'}")
    card = read_card(out)
    assert (card.dataset, card.class_names, card.num_classes) == (None, (), 2)
    assert lp.load_model(out).input_shape == (3, 8, 8) and (card.measured.clean_accuracy or 0) > 90


def test_the_card_has_the_training_radius_where_no_grid_is_given(place: Path) -> None:
    out = _trained(place, f"npz:{place / 'both.npz'}", "eps=30/255", "eps_grid=[]", "epochs=1")
    card = read_card(out)
    assert card.eps_train == 30 / 255 and card.eps_grid == (30 / 255, 36 / 255, 72 / 255, 108 / 255)
    assert list(card.measured.verified_robust_accuracy or {}) == ["30/255", "36/255", "72/255", "108/255"]
