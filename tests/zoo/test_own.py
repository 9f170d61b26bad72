"""Models of one's own, kept by name: `lip add`, `lip list`, `lp.load_model`, `lip remove`."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch

import lip_plugin as lp
from lip_plugin.network import Dense, Flatten, Head
from lip_plugin.types import format_eps
from lip_plugin.zoo import read_card
from lip_plugin.zoo.own import MODELS_FOLDER, models_folder


def classifier(seed: int = 0) -> lp.CertifiedClassifier:
    generator = torch.Generator().manual_seed(seed)
    weights = torch.randn(5, 4, generator=generator), torch.randn(3, 5, generator=generator)
    return lp.CertifiedClassifier([Flatten(), Dense(weights[0], None)], Head(weights[1], None), input_shape=(1, 2, 2))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(MODELS_FOLDER, str(tmp_path / "kept"))
    return tmp_path / "kept"


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    words = lp.Provenance(authors="A. Author", licence="MIT", additional_data=False)
    classifier().save(tmp_path / "mine", name="Mine", dataset="flowers", card=words)
    return tmp_path / "mine"


def test_a_saved_card_says_what_it_was_given(mine: Path) -> None:
    card = read_card(mine)
    assert (card.name, card.dataset, card.authors, card.licence, card.additional_data) == (
        "Mine", "flowers", "A. Author", "MIT", False
    )  # fmt: skip
    assert card.params == 20 + 15
    assert repr(card) == str(card) == "ModelCard(Mine, flowers, 35 parameters)"
    assert repr(card.model_copy(update={"dataset": None})) == "ModelCard(Mine, no data set, 35 parameters)"
    with pytest.raises(lp.ConfigError, match="cannot be a data set's name"):
        classifier().save(mine.parent / "other", dataset="a/b")
    assert not (mine.parent / "other").exists()


def test_a_saved_card_takes_the_names_of_classes_and_the_figures_of_a_report(lip: Any, folder: Path) -> None:
    model, x = classifier(), torch.rand(9, 1, 2, 2, generator=torch.Generator().manual_seed(0))
    certificate = lp.certify(model, x)
    y = certificate.prediction.clone()
    y[0] = (y[0] + 1) % 3
    eps = float(certificate.radius[1:].median())
    place = folder.parent / "mine"
    model.save(place, class_names=["a", "b c", "ü"], report=lp.compare(model, x, y, eps=(eps, 0.0), attacks=()))
    card = read_card(place)
    assert (card.class_names, card.eps_grid, card.dataset) == (("a", "b c", "ü"), (0.0, eps), None)
    proved = {format_eps(at): round(100 * lp.verified_robust_accuracy(certificate, y, at), 2) for at in (0.0, eps)}
    assert proved[format_eps(eps)] == round(100 * 4 / 9, 2)  # strictly above the median of eight: four
    assert (card.measured.clean_accuracy, card.measured.verified_robust_accuracy) == (round(100 * 8 / 9, 2), proved)
    assert (card.measured.images, card.measured.dataset, card.measured.arithmetic) == (9, "own images", "real")

    assert lip("add", place).code == 0
    assert f"mine - 35 {card.measured.clean_accuracy} {proved['0']} at 0, " in " ".join(lip("list").out.split())
    assert "a model 'mine' is known already" in lip("add", place).err


def test_a_card_that_would_not_hold_is_not_saved(tmp_path: Path) -> None:
    model, x, y = classifier(), torch.rand(4, 1, 2, 2), torch.zeros(4, dtype=torch.long)
    other = lp.compare(classifier(seed=1), x, y, eps=0.1, attacks=())
    failed = dataclasses.replace(lp.compare(model, x, y, eps=0.1, attacks=()), status="failed")
    refused: list[tuple[dict[str, Any], str]] = [
        ({"class_names": ("a", "b")}, "2 class names for a network of 3 classes"),
        ({"class_names": "abc"}, "3 class names for a network of 3 classes; list one for each"),
        ({"class_names": ("a", "b\n", "c")}, "the name of class 1: .*one printable line"),
        ({"class_names": (0, 1, 2)}, "the name of class 0: "),
        ({"report": other}, f"about network {other.model.digest[:12]}, and this is {model.digest[:12]}"),
        ({"report": failed}, "contradicts the certificates"),
    ]
    for given, words in refused:
        with pytest.raises(lp.ConfigError, match=words):
            model.save(tmp_path / "mine", **given)
    assert list(tmp_path.iterdir()) == []


def test_an_added_model_outlives_its_directory(lip: Any, folder: Path, mine: Path) -> None:
    digest = lp.load_model(mine).digest
    assert lip("add", mine).code == 0
    for file in mine.iterdir():
        file.unlink()
    assert lp.load_model("Mine").digest == digest
    assert "Mine" in lp.list_models(dataset="flowers")
    assert ("Mine", "flowers") in [(row["name"], row["dataset"]) for row in json.loads(lip("list", "--json").out)]
    assert lip("remove", "Mine").code == 0
    assert list(folder.iterdir()) == []
    with pytest.raises(lp.UnknownModelError):
        lp.load_model("Mine")


def test_names_that_are_taken_and_weights_that_differ_are_refused(lip: Any, folder: Path, mine: Path) -> None:
    assert lip("add", mine).code == 0
    again = lip("add", mine)
    assert (again.code, "known already" in again.err, "replace it" in again.err) == (2, True, True)
    other = mine.parent / "other"
    classifier(seed=1).save(other, name="Mine", dataset="flowers")
    assert lip("add", other, "--replace").code == 0
    assert lp.load_model("Mine").digest == classifier(seed=1).digest

    shipped = mine.parent / "shipped"
    card = lp.model_card("LipPlugin2026_LiResNet_Demo")
    classifier().save(shipped, name=card.name, dataset=card.dataset)
    refused = lip("add", shipped, "--replace")
    assert (refused.code, "known already; give yours another name" in refused.err) == (2, True)

    weights = other / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    assert "sha256" in lip("add", other, "--replace").err
    assert lp.load_model("Mine").digest == classifier(seed=1).digest, "the former one is still there"
    assert sorted(entry.name for entry in folder.iterdir()) == ["Mine@flowers"]


def test_only_what_was_added_is_removed(lip: Any, folder: Path, mine: Path) -> None:
    refused = lip("remove", "LipPlugin2026_LiResNet_Demo")
    assert (refused.code, "was not added by lip add" in refused.err) == (2, True)
    assert lip("remove", mine).code == 2
    assert (mine / "card.json").exists()
    assert lip("add", mine).code == 0
    (folder / "Mine@flowers" / "notes.txt").write_text("mine")
    refused = lip("remove", "Mine")
    assert (refused.code, "notes.txt" in refused.err) == (2, True)
    assert (folder / "Mine@flowers" / "notes.txt").exists()


def test_a_broken_card_hides_no_other_model(
    lip: Any, folder: Path, mine: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert lip("add", mine).code == 0
    (folder / "broken").mkdir()
    (folder / "broken" / "card.json").write_text("{")
    assert "Mine" in lp.list_models()
    assert "broken" in caplog.text
    assert lp.load_model("Mine").digest == classifier().digest


def test_the_folder_is_the_variable_or_the_systems(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(MODELS_FOLDER, str(tmp_path))
    assert models_folder() == tmp_path
    monkeypatch.delenv(MODELS_FOLDER)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    assert models_folder().name == "models"
    assert "lip-plugin" in models_folder().parts
