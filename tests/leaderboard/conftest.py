"""Report documents made by hand, and the cells of a page read back."""

from __future__ import annotations

import copy
import csv
import io
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

PROVED = "product of verified operator norms"

# 10,000 images: 9,000 right; at 0.25 7,500 certified, 8,000 survive; at 36/255 8,500 and 8,750 (weaker attack 8,900).
_REPORT: dict[str, Any] = {
    "schema": "lip-report/1",
    "status": "ok",
    "problems": [],
    "model": {"name": "net", "architecture": "conv", "params": 1_234_567, "sha256": "a" * 64, "digest": "d" * 64},
    "dataset": {
        **{"name": "cifar10", "split": "test", "n": 10_000, "source": "by hand", "classes": 10},
        **{"of": 10_000, "in_order": True, "of_classes": 10},
    },
    "threat_model": "L2",
    "lipschitz": {"upper_bound": 4.0, "method": PROVED, "lower_bound": 3.0, "layers": []},
    "arithmetic": "real",
    "clean_accuracy": 0.9,
    "eps": [
        {
            "eps": 36 / 255,
            "verified_robust_accuracy": 0.85,
            "vra_interval95": [0.794, 0.8929],
            "empirical_robust_accuracy": {"foolbox:DDN": 0.89, "autoattack": 0.875},
            "counts": {},
        },
        {
            "eps": 0.25,
            "verified_robust_accuracy": 0.75,
            "vra_interval95": [0.6858, 0.8048],
            "empirical_robust_accuracy": {"autoattack": 0.8},
            "counts": {},
        },
    ],
    "attacks": ["foolbox:DDN", "autoattack"],
    "audit": {"attacked_certified": 8, "broken": 0, "smallest_distance_over_radius": 1.2345},
    "skipped_certified": True,
    "cost": {"certify_seconds": 1.5, "attack_seconds": 62.25, "attack_forwards": 54321},
    "environment": {"device": "cpu", "seed": 0},
    "points": "points.csv",
}


@pytest.fixture
def document() -> dict[str, Any]:
    """A report.json of our own making; change it as you like."""
    return copy.deepcopy(_REPORT)


@pytest.fixture
def save(tmp_path: Path) -> Callable[..., Path]:
    """save(document, "folder"): as DIR/report.json, returns DIR."""

    def write(document: dict[str, Any], name: str = "evaluation") -> Path:
        directory = tmp_path / name
        directory.mkdir(parents=True)
        (directory / "report.json").write_text(json.dumps(document), encoding="utf-8")
        return directory

    return write


@dataclass
class Cell:
    """``text`` without ``note``, the small print."""

    column: str
    value: str
    kind: str
    text: str = ""
    note: str = ""


@dataclass
class Row:
    """One model, with its class attribute."""

    kind: str
    cells: list[Cell] = field(default_factory=list[Cell])

    def __getitem__(self, column: str) -> Cell:
        return next(cell for cell in self.cells if cell.column == column)


class Page(HTMLParser):
    """The rows of all tables in order, all elements, and all scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.rows: list[Row] = []
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.scripts: list[str] = []
        self._inside: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = {name: value or "" for name, value in attrs}
        self.elements.append((tag, named))
        self._inside.append(tag)
        if tag == "tr":
            self.rows.append(Row(named.get("class", "")))
        if "data-column" in named:
            self.rows[-1].cells.append(Cell(named["data-column"], named["data-value"], named["class"]))

    def handle_endtag(self, tag: str) -> None:
        while self._inside and self._inside.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if self._inside[-1:] == ["script"]:
            self.scripts.append(data)
        if not self.rows or not self.rows[-1].cells or not {"td", "th"} & set(self._inside):
            return
        cell = self.rows[-1].cells[-1]
        if "small" in self._inside:
            cell.note += data.strip()
        else:
            cell.text += data.strip()


@pytest.fixture
def parsed() -> Callable[[Path], Page]:
    """parsed(directory): its index.html; rows are those of models only."""

    def parse(directory: Path) -> Page:
        page = Page((directory / "index.html").read_text(encoding="utf-8"))
        page.rows = [row for row in page.rows if row.cells]
        return page

    return parse


@pytest.fixture
def csv_rows() -> Callable[[Path], list[dict[str, str]]]:
    """csv_rows(directory): its leaderboard.csv."""

    def read(directory: Path) -> list[dict[str, str]]:
        text = (directory / "leaderboard.csv").read_bytes().decode("utf-8")
        return list(csv.DictReader(io.StringIO(text, newline=""), strict=True))

    return read
