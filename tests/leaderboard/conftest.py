"""Report documents made by hand, and the cells of a page read back."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

PROVED = "product of verified operator norms"

E = 36 / 255
SURVIVED = ({"foolbox:DDN": 0.89, "autoattack": 0.875}, {"foolbox:DDN": 0.81, "autoattack": 0.8})
Survived = Sequence[dict[str, float]]


def _report(n: int = 10_000, survived: Survived = SURVIVED) -> dict[str, Any]:
    """Of all images 90 % are right; certified are 85 % at 36/255 and 75 % at 0.25. ``survived``: per eps and attack."""
    right, attacks = round(0.9 * n), list(survived[0])
    intervals = ([0.794, 0.8929], [0.6858, 0.8048])
    results = [
        _result(eps, n, right, round(proved * n), interval, found)
        for eps, proved, interval, found in zip((E, 0.25), (0.85, 0.75), intervals, survived, strict=True)
    ]
    audited = 8 if attacks else 0
    stage = {"eps": 0.25, "attack": "audit autoattack", "images": 8, "broken": 0, "forwards": 54321}
    return {
        "schema": "lip-report/1",
        "status": "ok",
        "problems": [],
        "model": {"name": "net", "architecture": "conv", "params": 1_234_567, "sha256": "a" * 64, "digest": "d" * 64},
        "dataset": {
            **{"name": "cifar10", "split": "test", "n": n, "source": "by hand", "classes": 10},
            **{"of": 10_000, "in_order": True, "of_classes": 10},
        },
        "threat_model": "L2",
        "lipschitz": {"upper_bound": 4.0, "method": PROVED, "lower_bound": 3.0, "layers": []},
        "arithmetic": "real",
        "disagrees": 0,
        "clean_accuracy": right / n,
        "eps": results,
        "attacks": attacks,
        "statistics": {
            **{"clean_interval95": [0.88, 0.92], "average_certified_radius": 0.3, "input_dimensions": 3072},
            "eps": [{"eps": eps, "linf_eps": None, "empirical_interval95": {}} for eps in (E, 0.25)],
            "classes": [
                {"label": 3, "n": n, "clean_accuracy": right / n, "average_certified_radius": 0.3}
                | {"verified_robust_accuracy": [0.85, 0.75], "empirical_robust_accuracy": [0.875, 0.8]}
            ],
        },
        "audit": {"attacked_certified": audited, "broken": 0, "smallest_distance_over_radius": 1.2345},
        "skipped_certified": True,
        "protocol_differences": [],
        "stages": [stage] if attacks else [],
        "cost": {"certify_seconds": 1.5, "attack_seconds": 62.25, "attack_forwards": 54321 if attacks else 0},
        "environment": {"lip_plugin": "0.1.0", "torch": "2.13.0", "device": "cpu", "seed": 0, "threads": 2},
        "options": None,
        "request": {"command": "", "input_shape": [3, 32, 32], "audit": 8, "batch_size": None},
        "points": "points.csv",
    }


def _result(
    eps: float, n: int, right: int, certified: int, interval: list[float], found: dict[str, float]
) -> dict[str, Any]:
    standing = int(n * min(found.values())) if found else right
    counts = {"certified": certified, "undecided": standing - certified, "broken": right - standing, "wrong": n - right}
    shares = {"verified_robust_accuracy": certified / n, "vra_interval95": interval}
    return {"eps": eps, **shares, "empirical_robust_accuracy": dict(found), "counts": counts}


@pytest.fixture
def evaluation() -> Callable[..., dict[str, Any]]:
    """evaluation(n=..., survived=...): a report.json of our own making, whose values fit each other."""
    return _report


@pytest.fixture
def document() -> dict[str, Any]:
    """The one of a whole test split; change it as you like."""
    return _report()


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
