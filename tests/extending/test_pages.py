"""The pages about extensions, run as they stand: file, entry point, commands."""

from __future__ import annotations

import importlib
import json
import math
import shlex
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tomli
import torch
from torch import nn

import lip_plugin as lp

Install = Callable[[str, Mapping[str, Mapping[str, str]], str], Path]
Blocks = Callable[[str, str], list[str]]
Lip = Callable[..., Any]
SIGNS_SIZE = [
    "model.depth=1",
    "model.width=4",
    "model.dense_width=8",
    "model.dense_depth=0",
    "batch_size=16",
    "epochs=1",
]


def entry_points(toml: str) -> Mapping[str, Mapping[str, str]]:
    """What the block for a pyproject.toml declares."""
    return tomli.loads(toml)["project"]["entry-points"]


@pytest.fixture
def page(installed: Install, code_blocks: Blocks) -> Callable[[str, str], list[list[str]]]:
    """page("attack.md", "my_attacks"): install what the page says; the words of its commands."""

    def install(name: str, module: str) -> list[list[str]]:
        (source,), (toml,) = code_blocks(f"extending/{name}", "python"), code_blocks(f"extending/{name}", "toml")
        installed(module, entry_points(toml), source)
        (shell,) = code_blocks(f"extending/{name}", "shell")
        return [shlex.split(line) for line in shell.splitlines()]

    return install


def _signs(directory: Path) -> tuple[torch.Tensor, torch.Tensor]:
    """Written as the page's example reads them; returns the test split in [0,1]."""
    directory.mkdir()
    generator = np.random.default_rng(0)
    for split, count in (("train", 32), ("test", 12)):
        labels = generator.integers(0, 3, count)
        images = generator.integers(0, 60, (count, 3, 32, 32), dtype=np.uint8)
        images[np.arange(count), labels] += 180  # each class has its own colour
        np.save(directory / f"{split}_images.npy", images)
        np.save(directory / f"{split}_labels.npy", labels)
    return torch.from_numpy(np.load(directory / "test_images.npy") / np.float32(255)), torch.from_numpy(labels)


def test_dataset(page: Any, lip: Lip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    x, y = _signs(tmp_path / "DIR")
    listing, train, certify = page("dataset.md", "my_signs")
    rows = {row["name"]: row for row in json.loads(lip(*listing[1:], "--json").out)}
    assert rows["signs"]["class_names"] == ["stop", "yield", "no entry"] and not rows["signs"]["may_be_shown"]
    before = lip(*[word.replace("data_dir=DIR", "data_dir=nowhere") for word in train[1:]], "--quiet")
    assert (before.code, before.err.count("\n")) == (2, 1) and "the signs files" in before.err
    done = lip(
        *[word.replace("data_dir=DIR", f"data_dir={tmp_path / 'DIR'}") for word in train[1:]], *SIGNS_SIZE, "--quiet"
    )
    assert done.code == 0, done.err
    model = lp.load_model("signs_model/")
    assert (model.num_classes, model.input_shape) == (3, (3, 32, 32))
    report = json.loads(lip(*certify[1:], "--json", "--quiet").out)
    right = int((model(x).argmax(1) == y).sum())
    told = report["dataset"]
    assert (told["name"], told["n"], told["source"]) == ("own images", 12, "signs test split")
    assert math.isclose(report["clean_accuracy"], right / 12)


def test_dataset_of_a_package_that_is_gone(installed: Install, lip: Lip, tmp_path: Path) -> None:
    """A card may name any data set: the model loads, and what is not known is said in one line."""
    lp.wrap(nn.Flatten().eval(), nn.Linear(4, 3).eval(), input_shape=(1, 2, 2)).save(tmp_path / "model")
    card = json.loads((tmp_path / "model" / "card.json").read_text())
    (tmp_path / "model" / "card.json").write_text(json.dumps({**card, "dataset": "signs"}))
    np.savez(tmp_path / "own.npz", x=np.zeros((4, 1, 2, 2), np.uint8), y=np.zeros(4, np.int64))
    assert lip("certify", tmp_path / "model", "--data", tmp_path / "own.npz", "--quiet").code == 0
    unknown = lip("certify", tmp_path / "model", "--data-dir", tmp_path)
    assert (unknown.code, unknown.err.count("\n")) == (2, 1)
    assert "no such data set as 'signs'; known: cifar10" in unknown.err


def test_attack(page: Any, lip: Lip) -> None:
    ((_, *compare),) = page("attack.md", "my_attacks")
    torch.manual_seed(0)
    head = nn.Linear(12, 2).double()
    model = lp.wrap(nn.Flatten().eval(), head.eval(), input_shape=(3, 2, 2))
    x = 0.5 + 0.1 * torch.randn(64, 3, 2, 2, dtype=torch.float64)
    with torch.no_grad():
        logits, normal = head(x.flatten(1)), head.weight[0] - head.weight[1]
    y, eps = logits.argmax(1), 0.1
    distance = (logits[:, 0] - logits[:, 1]).abs() / normal.norm()  # of the image from the plane between the classes
    assert 5 < int((distance < eps).sum()) < 60 and not bool(((distance - eps).abs() < 1e-9).any())
    for spec in ("mine:steps", "mine:steps?steps=3"):
        report = lp.compare(model, x, y, eps=eps, attacks=(spec,), skip_certified=False)
        assert [status == "broken" for status in report.points.status[eps]] == (distance < eps).tolist()
        assert report.attacks == (spec,)
        found = torch.isfinite(report.points.distance)
        assert torch.allclose(report.points.distance[found], distance[found], rtol=1e-3)
    with pytest.raises(lp.ConfigError, match="expected mine:steps"):
        lp.get_attack("mine:stpes")
    printed = json.loads(lip(*compare, "--quiet", "--json").out)
    assert printed["attacks"] == ["mine:steps?steps=10"] and printed["dataset"]["n"] == 16


def test_store(
    installed: Install, code_blocks: Blocks, lip: Lip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (toml,), (source,) = (code_blocks("extending/store.md", language) for language in ("toml", "python"))
    site = installed("lip_test_store", entry_points(toml), "")
    monkeypatch.chdir(site)
    (site / "my_models").mkdir()
    (site / "my_models" / "__init__.py").write_text("raise RuntimeError('a store is read, not run')\n")
    exec(compile(source, "store.md", "exec"), {})  # the page's own code, which saves a model into the folder
    importlib.invalidate_caches()
    shell = [shlex.split(line)[1:] for line in code_blocks("extending/store.md", "shell")[0].splitlines()]
    np.savez(tmp_path / "own.npz", x=np.zeros((2, 1, 28, 28), np.uint8), y=np.zeros(2, np.int64))
    monkeypatch.chdir(tmp_path)
    outcomes = [lip(*[word.replace("FILE.npz", "own.npz") for word in words]) for words in shell]
    assert [one.code for one in outcomes] == [0, 0, 0]
    assert "\nMine2026Demo " in outcomes[0].out
    assert lp.load_model("Mine2026Demo").digest == lp.load_model("LipPlugin2026_LiResNet_Demo").digest


def test_weight_store(page: Any, lip: Lip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commands = page("weight_store.md", "my_shelf")
    monkeypatch.setenv("SHELF", str(tmp_path))
    monkeypatch.setenv("LIP_PLUGIN_CACHE", str(tmp_path / "cache"))
    model = lp.load_model("LipPlugin2026_LiResNet_Demo")
    model.save(tmp_path / "tiny", dataset="fashion_mnist")
    outcomes = [lip(*words[1:]) for words in commands]
    assert [one.code for one in outcomes] == [0, 0], outcomes
    assert model.digest in outcomes[0].out and "4 of 10,000 images" in outcomes[1].out
    one_line = lip("info", "shelf:other")
    assert (one_line.code, one_line.err.count("\n")) == (2, 1) and "shelf:other holds no model" in one_line.err


def _mnist_files(directory: Path) -> None:
    """Fashion-MNIST's own files, of two classes that are bright above or below."""
    directory.mkdir()
    generator = np.random.default_rng(0)
    for prefix, count in (("train", 40), ("t10k", 20)):
        labels = generator.integers(0, 2, count)
        pixels = generator.integers(0, 100, (count, 28, 28))
        for image, label in zip(pixels, labels, strict=True):
            image[14 * label : 14 * label + 14] += 150
        for name, array in ((f"{prefix}-images-idx3-ubyte", pixels), (f"{prefix}-labels-idx1-ubyte", labels)):
            header = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
            (directory / name).write_bytes(header + array.astype(np.uint8).tobytes())


def test_architecture(page: Any, lip: Lip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two steps of training, frozen, certified; the orthogonal layer is orthogonal in what is certified."""
    monkeypatch.chdir(tmp_path)
    _mnist_files(tmp_path / "DIR")
    train, certify = page("architecture.md", "my_rotations")
    done = lip(*train[1:], "epochs=1", "batch_size=20", "weight_decay=1.0", "learning_rate=0.1", "--quiet")
    assert done.code == 0, done.err
    card, model = lp.model_card("rotations/"), lp.load_model("rotations/")
    assert (card.architecture, card.based_on) == ("rotations width=8 depth=1", "an example")
    (rotation,) = (layer.tensors()["weight"].double() for layer in model.operators if layer.kind == "dense")
    assert torch.linalg.matrix_norm(rotation.mT @ rotation - torch.eye(len(rotation)), 2) < 1e-5
    (stem,) = (layer.tensors()["weight"].double() for layer in model.operators if layer.kind == "conv")
    expected = float(torch.linalg.matrix_norm(stem.flatten(1), 2))  # windows that do not overlap
    assert expected <= lp.lipschitz_upper_bound(model).value <= expected * 1.001
    assert card.dataset is None  # the images of this test are not Fashion-MNIST's
    report = json.loads(lip(*certify[1:], "--dataset", "fashion_mnist", "--json", "--quiet").out)
    assert report["dataset"]["n"] == 20 and report["model"]["digest"] == model.digest
    wrong = lip(*train[1:4], "model={architecture: rotations, dense_depth: 1}", "--out", "other")
    assert wrong.code == 2 and "unknown setting 'model.dense_depth';" in wrong.err
    assert wrong.err.endswith("known: architecture, width, depth\n")
    assert not (tmp_path / "other").exists()
