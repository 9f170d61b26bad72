"""The tables of docs/scaling.md are what the code gives."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest


def test_the_tables_are_those_of_the_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "benchmarks")
    scaling = importlib.import_module("scaling")
    page = scaling.PAGE.read_text(encoding="utf-8")
    assert scaling.with_tables(page) == page, "python benchmarks/scaling.py"
    assert page.count("| parameters | ") == page.count("| training step | ") == 1
