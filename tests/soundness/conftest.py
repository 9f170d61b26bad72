"""The canaries of ``tools/canaries.py``, for every test here that wants networks with a boundary in reach."""

from __future__ import annotations

import importlib.util
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest


@cache
def _canaries() -> Any:
    path = Path(__file__).parents[2] / "tools" / "canaries.py"
    spec = importlib.util.spec_from_file_location("canaries", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def canaries() -> Any:
    """The module."""
    return _canaries()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """``canary``: every one; ``canary_of_kind``: the first of every operator kind."""
    if {"canary", "canary_of_kind"} & set(metafunc.fixturenames):
        names = list(_canaries().CANARIES)
        first = {_canaries().kind_of(name): name for name in reversed(names)}
        chosen = {"canary": names, "canary_of_kind": list(first.values())}
        for argument in chosen.keys() & set(metafunc.fixturenames):
            metafunc.parametrize(argument, chosen[argument])
