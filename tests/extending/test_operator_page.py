"""The page about operators, run as it stands: file, entry point, test class, use."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable, Generator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

import lip_plugin as lp
from lip_plugin.network.operators import OPERATOR_KINDS

from .test_pages import entry_points

Install = Callable[[str, Mapping[str, Mapping[str, str]], str], Path]
Blocks = Callable[[str, str], list[str]]


@pytest.fixture
def blocks(installed: Install, code_blocks: Blocks) -> Generator[list[str]]:
    """The page's Python after the module itself, which is installed."""
    source, *others = code_blocks("extending/operator.md", "python")
    (toml,) = code_blocks("extending/operator.md", "toml")
    installed("my_shrink", entry_points(toml), source)
    yield others
    OPERATOR_KINDS.pop("my_shrink", None)


def _run(code: str) -> dict[str, Any]:
    names: dict[str, Any] = {"__name__": "page"}
    exec(compile(code, "operator.md", "exec"), names)
    return names


def test_the_suite_of_the_page_passes(blocks: list[str]) -> None:
    suite = _run(blocks[0])["TestShrink"]()
    tests = [test for name, test in inspect.getmembers(suite, inspect.ismethod) if name.startswith("test_")]
    assert len(tests) > 10
    for test in tests:
        test()


def test_a_network_with_it_is_certified_saved_and_loaded(
    blocks: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    names = _run(blocks[1])
    model, certificate = names["model"], names["certificate"]
    assert certificate.foreign_operators == ("my_shrink (my_shrink.Shrink)",)
    first, last = (model.operators[1].weight.double(), model.head.weight.double())
    bound = float(torch.linalg.matrix_norm(first, 2))
    assert lp.lipschitz_upper_bound(model).value == pytest.approx(bound, rel=1e-6)
    hidden = torch.nn.functional.softshrink(torch.full((1, 3, 2, 2), 0.3).flatten(1).double() @ first.mT, 0.1)
    assert torch.allclose(model(torch.full((1, 3, 2, 2), 0.3)).double(), hidden @ last.mT, atol=1e-5)
    OPERATOR_KINDS.pop("my_shrink")  # as in another process
    del sys.modules["my_shrink"]
    importlib.invalidate_caches()
    assert lp.load_model("shrunk").digest == model.digest
