"""Whole runs on pictures that are streamed: folders and shards, held-out pictures, one process and two."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

import lip_plugin as lp
from lip_plugin.cli import run
from lip_plugin.data import ImageSet, PictureSet, load_images
from lip_plugin.train.checkpoint import CHECKPOINT_FILE, load_checkpoint
from lip_plugin.train.config import TrainConfig
from lip_plugin.train.splits import load_splits

Image: Any = pytest.importorskip("PIL.Image")
pytest.importorskip("torchvision")
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")

RECIPE = {
    "dataset": "imagenet",
    "model": {"depth": 1, "width": 4, "dense_width": 8, "dense_depth": 1, "neck_patch": 2},
    "augment": {"flip": True, "rand_augment": 0.5},
    "pictures": {"crop": 8, "train_resize": [8, 10], "test_resize": 9, "workers": 0},
    "eps": 0.1,
    "epochs": 2,
    "batch_size": 8,
    "learning_rate": 0.01,
    "name": "streamed",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """60 pictures of three classes to train on, 12 to test on; and a recipe."""
    generator = np.random.default_rng(0)
    for split, count in (("train", 20), ("val", 4)):
        for label in range(3):
            (tmp_path / split / f"n{label}").mkdir(parents=True)
            for index in range(count):
                pixels = generator.integers(0, 90, (12, 14, 3), np.uint8)
                pixels[..., label] += 120
                Image.fromarray(pixels).save(tmp_path / split / f"n{label}" / f"{index:02}.png")
    (tmp_path / "streamed.yaml").write_text(yaml.safe_dump(RECIPE))
    return tmp_path


def _arguments(folder: Path, out: str, *more: str) -> list[str]:
    return ["train", str(folder / "streamed.yaml"), f"data_dir={folder}", *more, "--out", str(folder / out), "--quiet"]


def test_a_streamed_run_ends_in_a_model_directory(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(_arguments(folder, "model", "held_out=12")) == 0
    card = lp.model_card(str(folder / "model"))
    model = lp.load_model(folder / "model")
    assert model.input_shape == (3, 8, 8) and model.num_classes == 3 and card.measured.images == 12
    test = load_images("imagenet", "test", folder, crop=8, resize=9)
    ((x, y),) = test.blocks(12, model.dtype)
    certificate = lp.certify(model, x)
    assert card.measured.clean_accuracy == round(100 * float((certificate.prediction == y).double().mean()), 2)
    capsys.readouterr()
    assert card.dataset is None and card.class_names == ("n0", "n1", "n2")  # three classes of 12 pictures, no ImageNet
    named = ["--dataset", "imagenet", "--data-dir", str(folder)]
    assert run(["certify", str(folder / "model"), *named, "--workers", "1", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["clean_accuracy"] == json.loads((folder / "model" / "report.json").read_text())["clean_accuracy"]
    with (folder / "model" / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 and all(float(row["held_out_clean_accuracy"]) >= 0 for row in rows)
    capsys.readouterr()
    assert run(_arguments(folder, "model", "held_out=12", "pictures.workers=2", "--resume")) == 0  # nothing left to do
    capsys.readouterr()
    assert run(_arguments(folder, "again", "held_out=12", "pictures.workers=2")) == 0
    assert (folder / "again" / "model.safetensors").read_bytes() == (
        folder / "model" / "model.safetensors"
    ).read_bytes()


def test_held_out_pictures_and_the_others_are_the_whole(folder: Path) -> None:
    config = TrainConfig.model_validate({**RECIPE, "data_dir": str(folder), "held_out": 12})
    splits = load_splits(config)
    assert isinstance(splits.held_out, PictureSet) and not isinstance(splits.training, ImageSet)
    whole = load_splits(config.model_copy(update={"held_out": 0})).training
    assert not isinstance(whole, ImageSet) and not isinstance(splits.training, ImageSet)
    kept, trained = splits.held_out.pictures, splits.training
    assert (len(kept), len(trained), len(whole)) == (12, 48, 60) and kept.classes == whole.classes
    parts = [source.read(index).tobytes() for source in (kept, trained) for index in range(len(source))]
    assert sorted(parts) == sorted(whole.read(index).tobytes() for index in range(60))
    for source in (kept, trained):
        assert all(source.read(index)[..., label].mean() > 120 for index, label in enumerate(source.labels.tolist()))


def test_two_processes_under_torchrun_are_one(folder: Path) -> None:
    """The README's launch: the weights within 1e-5 of one process, the test split certified by both."""
    code = "import torch; torch.set_num_threads(1); from lip_plugin.cli import main; main()"
    (folder / "lip.py").write_text(code)
    # With seed 0 one scale has a gradient of almost nothing, and Adam divides rounding by rounding there.
    settings = ["learning_rate=0.001", "held_out=12", "seed=1"]
    single = [sys.executable, str(folder / "lip.py"), *_arguments(folder, "one", *settings)]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    double = [*torchrun, str(folder / "lip.py"), *_arguments(folder, "two", *settings)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    for command in (single, double):
        subprocess.run(command, check=True, capture_output=True, env=environment, timeout=300)
    one, two = load_checkpoint(folder / "one"), load_checkpoint(folder / "two")
    for key, value in one["model"].items():
        torch.testing.assert_close(two["model"][key], value, rtol=0, atol=1e-5)
    assert np.array(one["accuracies"]) == pytest.approx(np.array(two["accuracies"]), abs=1e-6)
    reports = [json.loads((folder / name / "report.json").read_text()) for name in ("one", "two")]
    assert [report["dataset"]["n"] for report in reports] == [12, 12]
    assert reports[1]["lipschitz"]["upper_bound"] == pytest.approx(reports[0]["lipschitz"]["upper_bound"], rel=1e-4)
    assert lp.model_card(str(folder / "two")).measured.model_dump()["processes"] == 2


def test_a_signal_to_the_whole_group_is_survived_by_the_workers(folder: Path) -> None:
    """As from Ctrl-C or a scheduler: the run saves and says so, and what it saved goes on to the same weights."""
    code = "import torch; torch.set_num_threads(1); from lip_plugin.cli import main; main()"
    settings = ["epochs=12", "pictures.workers=1", "checkpoint_seconds=0.02"]
    command = [sys.executable, "-c", code]
    process = subprocess.Popen(
        [*command, *_arguments(folder, "cut", *settings)], stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    for _ in range(1200):
        time.sleep(0.05)
        if (folder / "cut" / CHECKPOINT_FILE).is_file() and load_checkpoint(folder / "cut")["step"] > 0:
            break
    os.killpg(process.pid, signal.SIGTERM)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 143, errors
    assert errors.startswith("lip: stopped by SIGTERM") and errors.count("\n") == 1
    assert load_checkpoint(folder / "cut")["epoch"] < 12
    for out, more in (("cut", ["--resume"]), ("whole", [])):
        subprocess.run([*command, *_arguments(folder, out, *settings, *more)], check=True, capture_output=True)
    cut, whole = load_checkpoint(folder / "cut"), load_checkpoint(folder / "whole")
    assert all(torch.equal(cut["model"][key], value) for key, value in whole["model"].items())


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("held_out=60", "held_out=60 leaves nothing"),
        ("batch_size=61", "at least one batch of 61, got 60 images"),
        ("pictures.crop=12", "crop 12 <= train_resize 8"),
        ("name=a/b", "setting name: expected one printable line"),
        ("device=cida", "device 'cida' cannot be used"),
        ("device=meta", "expected cpu or cuda"),
        ("device=cuda:99", "device 'cuda:99' cannot be used"),
        ("download=true", "cannot download 'imagenet'"),
        ("pictures.crp=12", "unknown setting 'pictures.crp'; Did you mean 'crop'?"),
    ],
)
def test_bad_settings_are_one_line(
    folder: Path, setting: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(_arguments(folder, "model", setting)) == 2
    captured = capsys.readouterr()
    *before, refusal = captured.err.splitlines()
    assert refusal.startswith("lip: ") and message in refusal
    assert all("pictures, 3 classes by folder names" in line for line in before), "what the folders hold, and no more"
    assert not (folder / "model").exists()


def test_a_network_that_could_not_be_loaded_again_is_refused_at_the_start(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("lip_plugin.network.limits._WORK", 1000)
    assert run(_arguments(folder, "model")) == 2
    assert "at most 1000 are loaded" in capsys.readouterr().err and not (folder / "model").exists()
