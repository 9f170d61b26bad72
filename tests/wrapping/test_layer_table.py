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


def _sections(page: str) -> dict[str, dict[str, str]]:
    """The rows of every library by class, by the library's name and version."""
    parts = [part.partition("\n") for part in page.split("\n## ")[1:]]
    return {
        title: {line.split("`")[1]: line for line in body.splitlines() if line.startswith("| `")}
        for title, _, body in parts
    }


def test_the_table_is_current() -> None:
    """Other versions of a library than the page names are not compared, nor libraries that are not installed."""
    committed, found = _sections(TABLE.read_text(encoding="utf-8")), _sections(tool.page())
    assert "torch.nn" in found and len(committed["torch.nn"].keys() & found["torch.nn"].keys()) > 100
    for title in committed.keys() & found.keys():
        shared = committed[title].keys() & found[title].keys()  # another torch may have other classes
        assert {name: committed[title][name] for name in shared} == {name: found[title][name] for name in shared}


def test_every_refusal_says_what_to_do() -> None:
    sections = _sections(TABLE.read_text(encoding="utf-8"))
    refused = [line for rows in sections.values() for line in rows.values() if "| refused |" in line]
    assert len(refused) > 50
    assert [line for line in refused if "write it with known layers" in line] == []
