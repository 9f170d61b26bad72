"""`lip convert`: a checkpoint file becomes a model directory, or nothing is written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

import lip_plugin as lp
from lip_plugin.cli import run

GOLDEN = Path(__file__).parents[1] / "golden"


def recorded(name: str) -> tuple[str, dict[str, Any], dict[str, Tensor]]:
    with safe_open(GOLDEN / f"{name}.safetensors", "pt") as file:
        metadata = file.metadata()
        keys = [key for key in file.keys() if key.startswith("state.")]  # noqa: SIM118  not a mapping
        state = {key.removeprefix("state."): file.get_tensor(key) for key in keys}
    return metadata["implementation"], json.loads(metadata["config"]), state


def convert(file: Path, implementation: str, out: Path, *more: str) -> int:
    return run(["convert", str(file), "--implementation", implementation, "--out", str(out), *more])


LINKS = {"hu23": "2301.12549", "liresnet_pp": "2310.02513", "bronet": "2505.15174"}
CONVERTED = [
    "hu23_cifar_s1",
    "hu23_tiny_s1",
    "liresnetpp_cifar_s1",
    "liresnetpp_tiny_s1",
    "bronet_cifar_s1",
    "bronet_tiny_s1",
]


@pytest.mark.parametrize("name", CONVERTED)
def test_sizes_come_from_the_shapes(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    implementation, config, state = recorded(name)
    torch.save({"model": {f"module.{key}": value for key, value in state.items()}, "epoch": 3}, tmp_path / "last.pt")
    out = tmp_path / "model"
    assert convert(tmp_path / "last.pt", implementation, out, "--dataset", "cifar10") == 0
    assert f"depth = {config['depth']}, width = {config['width']}" in capsys.readouterr().out
    expected = lp.from_published(implementation, config, state)
    assert lp.load_model(out).digest == expected.digest
    card = lp.model_card(str(out))
    assert (card.name, card.dataset, card.input_shape) == ("model", "cifar10", expected.input_shape)
    assert card.link == f"https://arxiv.org/abs/{LINKS[implementation]}"
    assert card.bibtex and card.paper and card.based_on
    assert card.authors is None  # who trained these weights, the file does not say


PUBLISHED_YAML = """\
model:
  use_lln: True
  num_lc_iter: 10
  act_name: "MinMax"
  {model}

training:
  batch_size: 1024
  lr: 1.0e-3

dataset:
  name: "imagenet"
  num_classes: {num_classes}
  input_size: {input_size}
  ddpm: False

loss:
  eps: 0.1411764705882353
"""


def published_folder(name: str, folder: Path) -> tuple[str, dict[str, Any], dict[str, Tensor]]:
    """As the model pages of BRONet have it: a checkpoint of their training script, its configuration, a page."""
    implementation, config, state = recorded(name)
    sections = {key: config.pop(key) for key in ("num_classes", "input_size")}
    lines = "\n  ".join(f"{key}: {json.dumps(value)}" for key, value in config.items())
    folder.mkdir()
    (folder / "README.md").write_text("# BRONet")
    (folder / "imagenet.yaml").write_text(PUBLISHED_YAML.format(model=lines, **sections))
    torch.save({"backbone": state, "epoch": 399, "optimizer": {"lr": 0.0}}, folder / "imagenet.pth")
    return implementation, {**config, **sections}, state


@pytest.mark.parametrize("name", ["bronet_cifar_s1", "bronet_tiny_s1", "bronet_hybrid_s1"])
def test_a_folder_as_on_a_model_page(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What no shape tells, that the hybrid one grows, comes from its configuration."""
    implementation, config, state = published_folder(name, tmp_path / "page")
    assert convert(tmp_path / "page", implementation, tmp_path / "out") == 0
    assert "depth" not in capsys.readouterr().out  # nothing is guessed that is written
    network = lp.load_model(tmp_path / "out")
    assert network.digest == lp.from_published(implementation, config, state).digest
    assert network.num_classes == config["num_classes"]
    if "hybrid" in name:
        assert convert(tmp_path / "page" / "imagenet.pth", implementation, tmp_path / "alone") == 2
        assert "--set input_size=N" in capsys.readouterr().err
        told = ["--set", "input_size=32", "--set"]
        assert convert(tmp_path / "page" / "imagenet.pth", implementation, tmp_path / "alone", *told, "width=8") == 2
        assert "--set backbone_type=bro" in capsys.readouterr().err
    assert convert(tmp_path / "page", implementation, tmp_path / "other", "--set", "depth=7") == 2


@pytest.mark.parametrize("name", ["bronet_cifar_s1"])
def test_folders_that_are_no_model_page(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "page"
    implementation, _, state = published_folder(name, page)
    good = (page / "imagenet.yaml").read_text()
    cases = {
        "no mapping": ("- 1", "not a YAML mapping"),
        "no section": ("model: {width: 8}", "lacks a section model or dataset"),
        "an alias": ("model: &a {width: 8}\ndataset: *a", "imagenet.yaml"),
        "a tag": ("model: !!python/name:os.system {}", "imagenet.yaml"),
        "another network": (good.replace('"bro"', '"soc"'), "converted are bro, brov2"),
        "other sizes": (good.replace("width: 16", "width: 18"), "config implies"),
    }
    for text, words in cases.values():
        (page / "imagenet.yaml").write_text(text)
        assert convert(page, implementation, tmp_path / "out") == 2
        err = capsys.readouterr().err
        assert words in err and err.count("\n") == 1, err
    (page / "imagenet.yaml").unlink()
    assert convert(page, implementation, tmp_path / "out") == 2
    assert "must hold one configuration (.yaml), found none" in capsys.readouterr().err
    (page / "imagenet.yaml").write_text(good)
    torch.save(state, page / "second.pt")
    assert convert(page, implementation, tmp_path / "out") == 2
    assert "must hold one checkpoint" in (err := capsys.readouterr().err) and "second.pt" in err
    assert not (tmp_path / "out").exists()


def test_safetensors_float32_and_a_key(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    implementation, config, state = recorded("hu23_cifar_s1")
    half = {key: value.half() for key, value in state.items() if not key.endswith("identity")}
    both = {f"{name}.{key}": value.clone() for name in ("model", "ema") for key, value in half.items()}
    both["ema.head.bias"] += 1
    save_file(both, tmp_path / "both.safetensors")
    out = tmp_path / "out"
    assert convert(tmp_path / "both.safetensors", implementation, out) == 2
    assert "--float32" in capsys.readouterr().err
    assert convert(tmp_path / "both.safetensors", implementation, out, "--float32") == 2
    assert "--key ema" in capsys.readouterr().err and not out.exists()
    assert convert(tmp_path / "both.safetensors", implementation, out, "--float32", "--key", "ema") == 0
    widened = {key: value.float() for key, value in half.items()}
    ema = {**widened, "head.bias": (half["head.bias"] + 1).float()}
    assert lp.load_model(out).digest == lp.from_published(implementation, config, ema).digest


def test_sizes_that_no_shape_tells_are_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A neck of twice as many positions belongs to images of no usual side."""
    implementation, config, state = recorded("hu23_cifar_s1")
    width, side = config["width"], 48
    state["neck.3.weight"] = torch.ones(len(state["neck.3.weight"]), 2 * width * (side // 2 // 4) ** 2).double()
    torch.save(state, tmp_path / "odd.pt")
    assert convert(tmp_path / "odd.pt", implementation, tmp_path / "out") == 2
    assert "lacks 'input_size', a positive integer" in (err := capsys.readouterr().err) and "--set input_size=N" in err
    assert convert(tmp_path / "odd.pt", implementation, tmp_path / "out", "--set", f"input_size={side}") == 0
    assert lp.load_model(tmp_path / "out").input_shape == (3, side, side)
    for wrong in ("input_size", "input_size=-1", "input_size=big", "input_size=32"):
        assert convert(tmp_path / "odd.pt", implementation, tmp_path / "other", "--set", wrong) == 2
        assert capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / "other").exists()


def test_an_existing_directory_is_replaced_only_when_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    implementation, _, state = recorded("liresnetpp_cifar_s1")
    torch.save(state, tmp_path / "a.pt")
    torch.save({**state, "head.bias": state["head.bias"] + 1}, tmp_path / "b.pt")
    out = tmp_path / "out"
    assert convert(tmp_path / "a.pt", implementation, out, "--name", "First") == 0
    digest = lp.load_model(out).digest
    assert convert(tmp_path / "b.pt", implementation, out) == 2
    assert "--overwrite" in capsys.readouterr().err and lp.load_model(out).digest == digest
    assert lp.model_card(str(out)).name == "First"
    assert convert(tmp_path / "b.pt", implementation, out, "--overwrite") == 0
    assert lp.load_model(out).digest != digest
    (out / "notes.txt").write_text("mine")
    assert convert(tmp_path / "a.pt", implementation, out, "--overwrite") == 2
    assert "notes.txt" in capsys.readouterr().err


class Foreign:
    """Something of a training script's own, pickled beside the weights."""


def test_files_that_are_no_checkpoint(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    implementation, _, state = recorded("liresnetpp_cifar_s1")
    torch.save({"model": state, "args": Foreign()}, tmp_path / "args.pt")
    (tmp_path / "text.pt").write_text("weights")
    (tmp_path / "text.safetensors").write_text("weights")
    (tmp_path / "empty.pt").write_bytes(b"")
    torch.save(state, tmp_path / "good.pt")
    cases = {
        "args.pt": "Foreign beside tensors, which could run code; save tensors alone",
        "text.pt": "cannot read",
        "text.safetensors": "cannot read",
        "empty.pt": "cannot read",
        "absent.pt": "is not a file",
        ".": "is not a file",
    }
    for name, words in cases.items():
        assert convert(tmp_path / name, implementation, tmp_path / "out") == 2
        err = capsys.readouterr().err
        assert words in err and err.count("\n") == 1, err
    assert convert(tmp_path / "good.pt", "hu24", tmp_path / "out") == 2
    assert "no converter 'hu24'; known: bronet, hu23, liresnet_pp" in capsys.readouterr().err
    assert convert(tmp_path / "good.pt", "hu23", tmp_path / "out") == 2
    assert "lacks" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
