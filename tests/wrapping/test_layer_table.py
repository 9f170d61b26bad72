"""The committed table of layers is what the library does, for the classes that this torch has."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
TABLE = ROOT / "docs" / "layers.md"


def _tool() -> Any:
    spec = importlib.util.spec_from_file_location("layer_table", ROOT / "tools" / "layer_table.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


tool = _tool()


def _rows(page: str) -> dict[str, str]:
    return {line.split("`")[1]: line for line in page.splitlines() if line.startswith("| `")}


def test_the_table_is_current() -> None:
    committed, found = _rows(TABLE.read_text(encoding="utf-8")), _rows(tool.page())
    shared = committed.keys() & found.keys()  # another torch may have other classes
    assert len(shared) > 100
    assert {name: committed[name] for name in shared} == {name: found[name] for name in shared}


def test_every_refusal_says_what_to_do() -> None:
    refused = {name: line for name, line in _rows(TABLE.read_text(encoding="utf-8")).items() if "| refused |" in line}
    general = [name for name, line in refused.items() if "write it with known layers" in line]
    assert general == []
