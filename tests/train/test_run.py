"""Whole runs through the command line: a model directory comes out, and no interruption changes it."""

from __future__ import annotations

import csv
import hashlib
import json
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

import lip_plugin as lp
from lip_plugin.cli import run
from lip_plugin.train.checkpoint import CHECKPOINT_FILE, load_checkpoint

RECIPE = {
    "dataset": "mnist",
    "model": {
        "architecture": "liresnet_pp",
        "depth": 1,
        "width": 4,
        "dense_width": 8,
        "dense_depth": 1,
        "neck_patch": 2,
    },
    "augment": {"crop": 1, "flip": True},
    "eps": 0.1,
    "epochs": 2,
    "batch_size": 16,
    "learning_rate": 0.01,
    "eps_grid": [0.05, 0.1],
    "card": {"licence": "MIT", "based_on": "a test"},
    "name": "tiny",
}


def write_idx(path: Path, array: np.ndarray) -> None:  # pyright: ignore[reportMissingTypeArgument]
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    path.write_bytes(header + array.astype(np.uint8).tobytes())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Images of two classes in MNIST's own files, and a recipe."""
    generator = np.random.default_rng(0)
    for prefix, count in (("train", 320), ("t10k", 60)):
        labels = generator.integers(0, 2, count)
        pixels = generator.integers(0, 120, (count, 8, 8))
        for image, label in zip(pixels, labels, strict=True):
            image[4 * label : 4 * label + 4] += 120
        write_idx(tmp_path / f"{prefix}-images-idx3-ubyte", pixels)
        write_idx(tmp_path / f"{prefix}-labels-idx1-ubyte", labels)
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(RECIPE))
    return tmp_path


def train(folder: Path, out: str, *more: str) -> int:
    return run(["train", str(folder / "tiny.yaml"), f"data_dir={folder}", *more, "--out", str(folder / out), "--quiet"])


def test_a_run_ends_in_a_model_directory_that_every_command_takes(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(folder, "model", "held_out=32") == 0
    out = folder / "model"
    card = lp.model_card(str(out))
    model = lp.load_model(out)
    x, y = lp_images(folder)
    certificate = lp.certify(model, x)
    assert card.measured.clean_accuracy == round(100 * float((certificate.prediction == y).double().mean()), 2)
    assert card.measured.verified_robust_accuracy == {
        eps: round(100 * lp.verified_robust_accuracy(certificate, y, float(eps)), 2) for eps in ("0.05", "0.1")
    }
    assert card.measured.model_dump()["command"].endswith("data_dir=DIR held_out=32")
    assert (card.licence, card.based_on, card.eps_train) == ("MIT", "a test", 0.1)
    report = json.loads((out / "report.json").read_text())
    assert report["model"]["digest"] == model.digest
    assert report["model"]["sha256"] == hashlib.sha256((out / "model.safetensors").read_bytes()).hexdigest()
    assert yaml.safe_load((out / "config.yaml").read_text())["held_out"] == 32
    with (out / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["epoch"]) for row in rows] == [1, 2]
    assert [float(row["loss"]) for row in rows] == pytest.approx(load_checkpoint(out)["losses"])
    assert all(
        0 <= float(row["batch_verified_robust_accuracy_estimate"]) <= float(row["batch_clean_accuracy"]) <= 1
        for row in rows
    )
    assert (model.num_classes, card.measured.model_dump()["precision"]) == (10, "float32")  # MNIST's, though two occur
    assert all(
        0 <= float(row["held_out_verified_robust_accuracy"]) <= float(row["held_out_clean_accuracy"]) for row in rows
    )
    used = [row["held_out_median_gradient_over_pair_bound"] for row in rows]
    assert any(used) and all(0 < float(value) <= 1 for value in used if value)
    assert report["lipschitz"]["gradient_images"] <= 60
    assert any((out / "tensorboard").iterdir())
    capsys.readouterr()
    assert card.dataset is None  # these are not MNIST's images, whatever their files are called
    named = ["--dataset", "mnist", "--data-dir", str(folder)]
    assert run(["certify", str(out), *named, "--n", "20", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["model"]["name"] == "tiny"


def test_a_bronet_is_trained_and_proved(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With annealing of other settings than the published ones; its reflectors are proved at 1, the stem is not."""
    recipe = {**RECIPE, "loss": "logit_annealing", "annealing": {"beta": 2.0}, "learning_rate": 0.02}
    sizes = {"plain_depth": 1, "depth": 2, "width": 4, "grows": True, "neck": "l2", "dense": "bro"}
    recipe["model"] = {"architecture": "bronet", **sizes, "dense_width": 8, "dense_depth": 1, "neck_patch": 2}
    (folder / "tiny.yaml").write_text(yaml.safe_dump(recipe))
    assert train(folder, "model") == 0
    card, model = lp.model_card(str(folder / "model")), lp.load_model(folder / "model")
    assert (card.based_on, card.link) == ("a test", "https://arxiv.org/abs/2505.15174")
    assert yaml.safe_load((folder / "model" / "config.yaml").read_text())["annealing"]["beta"] == 2.0
    layers = lp.lipschitz_upper_bound(model).layers
    reflectors = [layer.value for layer in layers if layer.name.endswith("frequency_conv")]
    assert len(reflectors) == 2 and all(1.0 <= value <= 1.0 + 1e-5 for value in reflectors)
    x, y = lp_images(folder)
    certificate = lp.certify(model, x)
    assert float((certificate.prediction == y).double().mean()) > 0.9
    assert (card.measured.verified_robust_accuracy or {})["0.05"] > 50
    capsys.readouterr()
    options = ["--dataset", "mnist", "--data-dir", str(folder), "--arithmetic", "forward", "--json"]
    assert run(["certify", str(folder / "model"), *options]) == 0
    assert json.loads(capsys.readouterr().out)["eps"][0]["counts"]["certified"] > 30


def test_files_are_downloaded_where_the_config_asks(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """torchvision's part is tested with the data; here: before anything is read, once, into data_dir."""
    asked: list[tuple[str, Path]] = []

    def download(dataset: str, directory: Path) -> None:
        asked.append((dataset, directory))
        directory.mkdir()
        for file in folder.glob("*-ubyte"):
            (directory / file.name).write_bytes(file.read_bytes())

    monkeypatch.setattr("lip_plugin.train.splits.download_image_set", download)
    new = folder / "new"
    arguments = [str(folder / "tiny.yaml"), f"data_dir={new}", "epochs=1", "--out", str(folder / "model"), "--quiet"]
    assert run(["train", *arguments]) == 2 and not asked
    assert run(["train", *arguments, "download=true"]) == 0
    assert asked == [("mnist", new)]


def lp_images(folder: Path) -> tuple[torch.Tensor, torch.Tensor]:
    from lip_plugin.data import load_image_set

    return load_image_set("mnist", "test", folder).tensors(torch.float32)


def command(folder: Path, out: str, *more: str) -> list[str]:
    code = "import sys, torch; torch.set_num_threads(1); from lip_plugin.cli import run; sys.exit(run(sys.argv[1:]))"
    settings = [f"data_dir={folder}", "epochs=15", "checkpoint_seconds=0.02"]
    return [
        sys.executable,
        "-c",
        code,
        "train",
        str(folder / "tiny.yaml"),
        *settings,
        "--out",
        str(folder / out),
        *more,
    ]


def interrupted_after_a_while(folder: Path, out: str, number: signal.Signals) -> tuple[int, str]:
    """Start a run, send a signal once it has saved something beyond its start; (exit code, stderr)."""
    process = subprocess.Popen(command(folder, out), stderr=subprocess.PIPE, text=True, stdout=subprocess.DEVNULL)
    checkpoint = folder / out / CHECKPOINT_FILE
    for _ in range(2400):  # a busy machine imports for half a minute
        time.sleep(0.05)
        if checkpoint.is_file() and load_checkpoint(folder / out)["step"] > 0:
            break
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    return process.returncode, errors


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGKILL, -9)])
def test_an_interrupted_run_resumes_to_the_same_weights(folder: Path, number: signal.Signals, code: int) -> None:
    """kill and kill -9 in the middle, then --resume: bit for bit the weights of a run that was left alone."""
    found, errors = interrupted_after_a_while(folder, "cut", number)
    assert found == code, errors
    if number == signal.SIGTERM:
        assert errors.startswith("lip: stopped by SIGTERM in epoch ") and errors.count("\n") == 1
    before = load_checkpoint(folder / "cut")
    assert before["epoch"] < 15
    subprocess.run(command(folder, "cut", "--resume"), check=True, capture_output=True)
    subprocess.run(command(folder, "whole"), check=True, capture_output=True)
    assert (folder / "cut" / "model.safetensors").read_bytes() == (folder / "whole" / "model.safetensors").read_bytes()
    assert load_checkpoint(folder / "cut")["losses"] == load_checkpoint(folder / "whole")["losses"]


def test_resume_with_other_settings_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train(folder, "model") == 0
    capsys.readouterr()
    assert train(folder, "model", "learning_rate=0.02", "--resume") == 2
    captured = capsys.readouterr()
    assert "learning_rate was 0.01, now 0.02" in captured.err and captured.err.count("\n") == 1
    assert yaml.safe_load((folder / "model" / "config.yaml").read_text())["learning_rate"] == 0.01
    assert train(folder, "absent", "--resume") == 2
    assert "nothing to resume" in capsys.readouterr().err and not (folder / "absent").exists()
    assert train(folder, "model") == 2
    assert "not empty" in capsys.readouterr().err
    assert train(folder, "model", "learning_rate=1e30", "--overwrite") == 2
    assert "lower learning_rate" in capsys.readouterr().err
    assert not (folder / "model" / "card.json").exists()  # the former run's, which says nothing about what is there
