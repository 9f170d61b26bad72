"""Files that people take for weights: what came and what to do, in one line, and never torch's advice to run them."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from lip_plugin.errors import CheckpointError
from lip_plugin.untrusted.torch_file import read_torch_file


def _arrays(path: Path) -> None:
    with path.open("wb") as file:
        np.savez(file, weight=np.ones(3))


def _array(path: Path) -> None:
    with path.open("wb") as file:
        np.save(file, np.ones(3))


def _program(path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.script(nn.Linear(3, 3)).save(str(path))


def _damaged(path: Path) -> None:
    """A name in the archive's directory that is no text, though it says that it is."""
    torch.save({"a": torch.ones(2)}, path)
    content = bytearray(path.read_bytes())
    entry = content.rfind(b"PK\x01\x02")
    content[entry + 9] = 8
    content[entry + 46] = 0xFF
    path.write_bytes(content)


POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:0\n"
FILES: dict[str, tuple[Callable[[Path], object], str]] = {
    "pointer": (lambda path: path.write_text(POINTER), "git lfs pull"),
    "page": (lambda path: path.write_text("<!DOCTYPE html><html>"), "web page; download"),
    "text": (lambda path: path.write_text("hello"), "no file of torch.save"),
    "nothing": (lambda path: path.write_bytes(b""), "empty"),
    "damaged": (_damaged, "or a damaged one"),
    "arrays": (_arrays, "NumPy arrays; expected"),
    "array": (_array, "NumPy array; expected"),
    "program": (_program, "TorchScript.*save tensors alone"),
    "module": (lambda path: torch.save(nn.Linear(3, 3), path), "Linear beside tensors.*save tensors alone"),
}


@pytest.mark.parametrize("name", FILES)
def test_what_came_and_what_to_do(name: str, tmp_path: Path) -> None:
    write, words = FILES[name]
    path = tmp_path / "weights.pt"
    write(path)
    with pytest.raises(CheckpointError, match=words) as caught:
        read_torch_file(path)
    assert "\n" not in str(caught.value)
    assert "weights_only" not in str(caught.value)
