"""`start`: a run begins with the parameters that another one ended with, and says so."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import lip_plugin as lp
from lip_plugin.cli import run
from lip_plugin.files import TRAINABLE_FILE
from lip_plugin.models import CertifiableModel, freeze
from lip_plugin.models.architecture import ARCHITECTURES, architecture_config
from lip_plugin.train.config import TrainConfig
from lip_plugin.train.start import take_parameters, trainable_content
from lip_plugin.train.state import initial_state

SHAPE = (3, 8, 8)
SMALL: dict[str, dict[str, Any]] = {
    "liresnet": {"depth": 1, "width": 4, "dense_width": 6},
    "liresnet_pp": {"depth": 2, "width": 4, "dense_width": 6, "dense_depth": 1, "neck_patch": 2},
    "bronet": {"depth": 1, "width": 16, "dense_width": 8, "dense_depth": 1},
    "lipnext": {"depth": 1, "width": 16, "patch": 2},
    "comparison": {"block": "sll", "depth": 1, "width": 8, "patch": 2, "dense_width": 8},
}


def built(name: str, *, seed: int, classes: int = 3) -> CertifiableModel:
    torch.manual_seed(seed)
    config = architecture_config({"architecture": name, **SMALL[name]})
    return config.build(input_shape=SHAPE, num_classes=classes)


def left_by_a_run(model: CertifiableModel, place: Path) -> Path:
    freeze(model).save(place)
    (place / TRAINABLE_FILE).write_bytes(trainable_content(model))
    return place


@pytest.mark.parametrize("name", sorted(SMALL))
def test_what_is_taken_freezes_into_the_same_network(name: str, tmp_path: Path) -> None:
    former, model = built(name, seed=0), built(name, seed=1)
    former.train()(torch.rand(8, *SHAPE))  # running means move
    place = left_by_a_run(former, tmp_path / "former")
    assert freeze(model).digest != freeze(former).digest
    take_parameters(model, str(place))
    assert freeze(model).digest == freeze(former).digest == lp.load_model(place).digest


def test_models_that_were_added_keep_what_a_run_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIP_PLUGIN_MODELS", str(tmp_path / "kept"))
    former, model = built("liresnet", seed=0), built("liresnet", seed=1)
    assert run(["add", str(left_by_a_run(former, tmp_path / "Former"))]) == 0
    take_parameters(model, "Former")
    assert freeze(model).digest == freeze(former).digest
    assert run(["remove", "Former"]) == 0 and not list((tmp_path / "kept").iterdir())


def test_every_architecture_is_tried() -> None:
    assert set(SMALL) == {name for name in ARCHITECTURES.names() if not name.startswith("example")}


def test_halves_are_enough_to_begin_with(tmp_path: Path) -> None:
    former, model = built("comparison", seed=0), built("comparison", seed=1)
    place = left_by_a_run(former, tmp_path / "former")
    save_file({name: value.half() for name, value in former.state_dict().items()}, place / TRAINABLE_FILE)
    take_parameters(model, str(place))
    for name, value in former.state_dict().items():
        assert model.state_dict()[name].dtype == torch.float32
        torch.testing.assert_close(model.state_dict()[name], value, rtol=2**-11, atol=2**-24)


def test_a_head_of_other_classes_stays_new(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    former, model, fresh = built("liresnet_pp", seed=0), *(built("liresnet_pp", seed=1, classes=5) for _ in "ab")
    take_parameters(model, str(left_by_a_run(former, tmp_path / "former")))
    for name, value in model.state_dict().items():
        kept = fresh if name.startswith("head.") else former
        assert torch.equal(value, kept.state_dict()[name]), name
    assert "head is not taken" in caplog.text


def test_what_cannot_be_taken_is_refused_and_nothing_is(tmp_path: Path) -> None:
    former, model = built("liresnet_pp", seed=0), built("comparison", seed=1)
    place = left_by_a_run(former, tmp_path / "former")
    before = freeze(model).digest
    with pytest.raises(lp.CheckpointError, match="of another architecture"):
        take_parameters(model, str(place))
    state = former.state_dict()
    for content, words in (
        (b"<html>", "not a readable safetensors file"),
        (trainable_content(former)[:-8], "not a readable safetensors file"),
    ):
        (place / TRAINABLE_FILE).write_bytes(content)
        with pytest.raises(lp.CheckpointError, match=words):
            take_parameters(built("liresnet_pp", seed=0), str(place))
    save_file({**state, "head.bias": torch.full_like(state["head.bias"], torch.nan)}, place / TRAINABLE_FILE)
    with pytest.raises(lp.CheckpointError, match=r"NaN or infinite entries in 'head\.bias'"):
        take_parameters(built("liresnet_pp", seed=0), str(place))
    (place / TRAINABLE_FILE).unlink()
    with pytest.raises(lp.CheckpointError, match=r"trainable\.safetensors, which lip train writes, No such file"):
        take_parameters(model, str(place))
    with pytest.raises(lp.UnknownModelError):
        take_parameters(model, "Nobody2026")
    assert freeze(model).digest == before


RECIPE = """
dataset: npz:{data}
model: {{architecture: comparison, block: sll, depth: 1, width: 8, patch: 2, dense_width: 8, dense_depth: 0}}
eps: 0.1
epochs: 1
batch_size: 16
eps_grid: [0.1]
name: {name}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    generator = np.random.default_rng(0)
    y = generator.integers(0, 2, 64)
    x = np.where(y[:, None, None, None] == 1, 200, 20).astype(np.uint8) + np.zeros((64, *SHAPE), np.uint8)
    np.savez(tmp_path / "images.npz", x_train=x, y_train=y, x_test=x[:20], y_test=y[:20])
    for name in ("first", "second"):
        (tmp_path / f"{name}.yaml").write_text(RECIPE.format(data=tmp_path / "images.npz", name=name))
    return tmp_path


def test_a_run_goes_on_from_another_and_its_card_says_so(folder: Path) -> None:
    assert run(["train", str(folder / "first.yaml"), "--out", str(folder / "first"), "--quiet"]) == 0
    start = f"start={folder / 'first'}"
    second = ["train", str(folder / "second.yaml"), start, "--out", str(folder / "second"), "--quiet"]
    assert run(second) == 0
    first, card = lp.model_card(folder / "first"), lp.model_card(folder / "second")
    said = card.measured.model_dump()
    assert said["started_from"] == f"first, digest {first.digest[:12]}"
    assert str(folder) not in said["command"] and "start=first" in said["command"]
    config = TrainConfig.model_validate({**_settings(folder), "start": str(folder / "first")})
    begun = initial_state(config, input_shape=SHAPE, num_classes=2).model.state_dict()
    for name, value in load_file(folder / "first" / TRAINABLE_FILE).items():
        assert torch.equal(begun[name], value)


def test_going_on_needs_the_beginning_no_more(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["train", str(folder / "first.yaml"), "--out", str(folder / "first"), "--quiet"]) == 0
    second = ["train", str(folder / "second.yaml"), f"start={folder / 'first'}", "--out", str(folder / "second")]
    assert run([*second, "--quiet"]) == 0
    digest = lp.model_card(folder / "second").digest
    (folder / "first" / TRAINABLE_FILE).unlink()
    capsys.readouterr()
    assert run([*second, "--resume", "--quiet"]) == 0
    assert lp.model_card(folder / "second").digest == digest
    assert run([*second, "--overwrite", "--quiet"]) == 2
    assert "which lip train writes" in capsys.readouterr().err
    assert lp.model_card(folder / "second").digest == digest  # the former run is still there
    shutil.rmtree(folder / "first")
    assert run([*second, "--resume", "--quiet"]) == 0
    card = lp.model_card(folder / "second")
    assert (card.digest, card.measured.model_dump()["started_from"]) == (digest, "first")


def _settings(folder: Path) -> dict[str, Any]:
    import yaml

    return yaml.safe_load((folder / "second.yaml").read_text())
