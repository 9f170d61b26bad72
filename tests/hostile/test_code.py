"""Pickles and YAML with code in them: wherever they lie, they do not run."""

from __future__ import annotations

import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import lip_plugin as lp
from lip_plugin.cli import run
from lip_plugin.train.checkpoint import CHECKPOINT_FILE, load_checkpoint

Refused = Callable[..., str]


class Bomb:
    """Leaves a trace where it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return os.mkdir, (str(self.trace),)


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    return tmp_path / "trace"


def _plain(path: Path, bomb: Bomb) -> None:
    path.write_bytes(pickle.dumps({"model": bomb}, protocol=2))  # the one that torch knows


def _zipped(path: Path, bomb: Bomb) -> None:
    torch.save({"model": bomb, "epoch": 1}, path)


def _legacy(path: Path, bomb: Bomb) -> None:
    torch.save({"model": bomb, "epoch": 1}, path, _use_new_zipfile_serialization=False)


def _hidden(path: Path, bomb: Bomb) -> None:
    """The bomb as the state of an innocent type."""
    torch.save({"model": torch.nn.Parameter(torch.zeros(2)), "seconds": np.float64(1.0), "bomb": [{"a": bomb}]}, path)


WRITERS = {"pickle": _plain, "torch file": _zipped, "legacy torch file": _legacy, "hidden": _hidden}


@pytest.mark.parametrize("name", WRITERS)
def test_the_bombs_would_go_off(name: str, tmp_path: Path, trace: Path) -> None:
    """Otherwise the tests below could not fail."""
    WRITERS[name](tmp_path / "file", Bomb(trace))
    if name == "pickle":
        pickle.loads((tmp_path / "file").read_bytes())
    else:
        torch.load(tmp_path / "file", weights_only=False)
    assert trace.exists()


@pytest.mark.parametrize("name", WRITERS)
def test_a_training_checkpoint_with_code(name: str, tmp_path: Path, trace: Path) -> None:
    WRITERS[name](tmp_path / CHECKPOINT_FILE, Bomb(trace))
    with pytest.raises(lp.CheckpointError) as caught:
        load_checkpoint(tmp_path)
    assert "\n" not in str(caught.value)
    assert not trace.exists()


@pytest.mark.parametrize("place", ["model.safetensors", "card.json"])
@pytest.mark.parametrize("name", WRITERS)
def test_code_in_place_of_a_model_file(name: str, place: str, forge: Any, refused: Refused, trace: Path) -> None:
    WRITERS[name](forge.directory / place, Bomb(trace))
    if place == "model.safetensors":
        forge.sign(weights=(forge.directory / place).read_bytes())
    refused(forge.directory, place)
    assert not trace.exists()


def test_code_in_an_archive_of_images(forge: Any, tmp_path: Path, trace: Path) -> None:
    array = np.empty(2, dtype=object)
    array[:] = Bomb(trace)
    np.savez(tmp_path / "evil.npz", x=array, y=np.zeros(2, int))
    with zipfile.ZipFile(tmp_path / "evil.npz", "a") as archive:
        archive.writestr("../escaped.npy", b"")
    assert run(["certify", str(forge.directory), "--data", str(tmp_path / "evil.npz")]) == 2
    assert not trace.exists()
    assert not (tmp_path.parent / "escaped.npy").exists()


def test_code_in_a_recipe(tmp_path: Path, trace: Path) -> None:
    recipe = tmp_path / "evil.yaml"
    recipe.write_text(f'dataset: !!python/object/apply:os.mkdir ["{trace}"]\n')
    assert run(["train", str(recipe), "--out", str(tmp_path / "run")]) == 2
    assert not trace.exists()
