"""The canaries of ``tools/canaries.py``, for every test here that wants networks with a boundary in reach."""

from __future__ import annotations

from typing import Any

import pytest

from .loading import load_tool


@pytest.fixture(scope="session")
def canaries() -> Any:
    """The module."""
    return load_tool("canaries")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """``canary``: every one; ``canary_of_kind``: the first of every operator kind."""
    if {"canary", "canary_of_kind"} & set(metafunc.fixturenames):
        canaries = load_tool("canaries")
        names = list(canaries.CANARIES)
        first = {canaries.kind_of(name): name for name in reversed(names)}
        chosen = {"canary": names, "canary_of_kind": list(first.values())}
        for argument in chosen.keys() & set(metafunc.fixturenames):
            metafunc.parametrize(argument, chosen[argument])
