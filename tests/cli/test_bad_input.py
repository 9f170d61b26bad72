"""Bad input: one clear line on stderr, exit code 2, nothing half written."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

Lip = Any


def refused(outcome: Any, *fragments: str) -> None:
    """Exit 2, nothing on stdout, and one line on stderr with every fragment in it."""
    assert outcome.code == 2, outcome
    assert outcome.out == ""
    assert outcome.err.count("\n") == 1, outcome.err
    assert "Traceback" not in outcome.err
    for fragment in fragments:
        assert fragment in outcome.err, outcome.err


def test_unknown_model_names_close_matches(lip: Lip) -> None:
    refused(lip("compare", "LipPlugin2026_LiResNet_Dmo"), "no model", "Did you mean 'LipPlugin2026_LiResNet_Demo'")
    refused(lip("info", "nothing_like_it"), "no model 'nothing_like_it'")


@pytest.mark.parametrize(
    ("options", "fragments"),
    [
        (["--eps", "-0.1"], ["'-0.1'", "at least 0"]),
        (["--eps", "big"], ["'big'", "not a number", "36/255"]),
        (["--eps", "1/0"], ["'1/0'", "not a number"]),
        (["--eps", "nan"], ["'nan'"]),
        (["--eps", "inf"], ["'inf'"]),
        (["--n", "25"], ["25", "24"]),
        (["--n", "0"], ["0", "24"]),
        (["--n", "many"], ["many"]),
        (["--arithmetic", "float16"], ["float16", "real"]),
        (["--batch-size", "0"], ["batch_size"]),
        (["--device", "abacus"], ["abacus"]),
        (["--attacks", "autoattak"], ["autoattak", "autoattack"]),
        (["--attacks", "autoattack:apgd"], ["apgd-ce"]),
        (["--attacks", "autoattack?steps=3"], ["steps"]),
        (["--attacks", ","], ["names no attack", "lip certify"]),
        (["--audit", "few"], ["few", "all"]),
        (["--seed", "-3"], ["seed"]),
        (["--sed", "3"], ["--sed"]),
    ],
)
def test_bad_options(lip: Lip, model_dir: Path, data_file: Path, options: list[str], fragments: list[str]) -> None:
    refused(lip("compare", model_dir, "--data", data_file, *options), *fragments)


def test_data_that_is_not_there(lip: Lip, model_dir: Path, tmp_path: Path) -> None:
    refused(lip("certify", model_dir, "--data", tmp_path / "none.npz"), "none.npz", "no such file")
    refused(lip("certify", model_dir), "--data")
    refused(lip("certify", "--data-dir", tmp_path / "nowhere"), "nowhere", "does not exist")
    refused(lip("certify", "--data-dir", tmp_path), "t10k-images-idx3-ubyte")
    refused(lip("certify", "--data-dir", tmp_path, "--data", "a.npz"), "exclude each other")


@pytest.mark.parametrize(
    ("arrays", "fragments"),
    [
        ({"x": np.zeros((4, 1, 5, 5), np.uint8), "y": np.zeros(4, int)}, ["(4, 1, 5, 5)", "1, 4, 4"]),
        ({"x": np.zeros((4, 3, 4, 4), np.uint8), "y": np.zeros(4, int)}, ["(4, 3, 4, 4)"]),
        ({"x": np.full((4, 1, 4, 4), 2.5, np.float32), "y": np.zeros(4, int)}, ["2.5", "[0,1]"]),
        ({"x": np.full((4, 1, 4, 4), -0.5, np.float32), "y": np.zeros(4, int)}, ["-0.5", "[0,1]"]),
        ({"x": np.full((4, 1, 4, 4), np.nan, np.float32), "y": np.zeros(4, int)}, ["NaN"]),
        ({"x": np.zeros((4, 1, 4, 4), np.uint8), "y": np.full(4, 3)}, ["labels", "0 to 2"]),
        ({"x": np.zeros((4, 1, 4, 4), np.uint8), "y": np.zeros(4)}, ["float64", "integers"]),
        ({"x": np.zeros((4, 1, 4, 4), np.uint8), "y": np.zeros(5, int)}, ["(5,)"]),
        ({"x": np.zeros((0, 1, 4, 4), np.uint8), "y": np.zeros(0, int)}, ["N >= 1"]),
        ({"x": np.zeros((4, 1, 4, 4), np.uint8)}, ["lacks ['y']"]),
    ],
)
def test_images_that_do_not_fit(
    lip: Lip, model_dir: Path, tmp_path: Path, arrays: dict[str, Any], fragments: list[str]
) -> None:
    path = tmp_path / "bad.npz"
    np.savez(path, **arrays)
    refused(lip("certify", model_dir, "--data", path), *fragments)


def test_a_file_that_is_no_archive(lip: Lip, model_dir: Path, tmp_path: Path) -> None:
    path = tmp_path / "bad.npz"
    path.write_bytes(b"not an archive")
    refused(lip("certify", model_dir, "--data", path), "bad.npz", "expected an .npz")


def test_corrupted_weights(lip: Lip, model_dir: Path, data_file: Path) -> None:
    weights = model_dir / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    refused(lip("certify", model_dir, "--data", data_file), "sha256")
    weights.unlink()
    refused(lip("certify", model_dir, "--data", data_file), "model.safetensors")


def test_a_directory_that_is_no_model(lip: Lip, model_dir: Path, tmp_path: Path) -> None:
    refused(lip("info", tmp_path / "nothing"), "not a model directory")
    card = model_dir / "card.json"
    content = json.loads(card.read_text())
    card.write_text(json.dumps({**content, "num_classes": 1}))
    refused(lip("info", model_dir), "num_classes")
    card.write_text(json.dumps({**content, "surprise": 1}))
    refused(lip("info", model_dir), "surprise")
    card.write_text("{")
    refused(lip("info", model_dir), "not valid JSON")


def test_output_directories_that_cannot_be_used(lip: Lip, model_dir: Path, data_file: Path, tmp_path: Path) -> None:
    taken = tmp_path / "taken"
    taken.mkdir()
    (taken / "mine.txt").write_text("keep")
    refused(lip("certify", model_dir, "--data", data_file, "--out", taken), "not empty", "--overwrite")
    assert [path.name for path in taken.iterdir()] == ["mine.txt"]
    refused(lip("certify", model_dir, "--data", data_file, "--out", data_file), "is a file")
    refused(lip("certify", model_dir, "--data", data_file, "--out", data_file / "below"), "not writable")


def test_nothing_is_written_when_the_input_is_bad(lip: Lip, model_dir: Path, tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    refused(lip("compare", model_dir, "--data", tmp_path / "none.npz", "--out", tmp_path / "out"), "none.npz")
    assert sorted(tmp_path.rglob("*")) == before


def test_a_missing_attack_library_names_the_extra(
    lip: Lip, model_dir: Path, data_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyautoattack", None)
    refused(lip("compare", model_dir, "--data", data_file), "pip install 'lip-plugin[autoattack]'")


def test_training_with_bad_settings(lip: Lip, tmp_path: Path) -> None:
    refused(lip("train", "fashion_mnst"), "fashion_mnist")
    refused(lip("train", "fashion_mnist", "epoch=1"), "'epoch'", "epochs")
    refused(lip("train", "fashion_mnist", "epochs=many"), "epochs")
    refused(lip("train", "fashion_mnist", "model.widht=16"), "model.widht", "width")
    refused(lip("train", "fashion_mnist", "--out", tmp_path / "run"), "data_dir")
    refused(lip("train", "fashion_mnist", f"data_dir={tmp_path}/no", "--out", tmp_path / "run"), "does not exist")
    assert not (tmp_path / "run").exists()
