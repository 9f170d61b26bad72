"""A report made by hand, and the numbers of a page read back."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from html.parser import HTMLParser
from typing import Any

import pytest
import torch

import lip_plugin as lp
from lip_plugin.certificates import LayerBound
from lip_plugin.evaluate import AuditResult, DatasetSummary, EpsResult, ModelSummary
from lip_plugin.evaluate.results import AdversarialImage, Cost, Difference, Options, Points, StageRecord
from lip_plugin.report import html

EPS = 36 / 255


@pytest.fixture(scope="session")
def report() -> lp.Report:
    """Four images of 2x2 pixels: wrong, certified, broken, undecided."""
    radius = torch.tensor([0.3, 0.2, 0.05, 0.1], dtype=torch.float64)
    never = torch.zeros(4, dtype=torch.bool)
    certificate = lp.Certificate(torch.tensor([1, 1, 2, 0]), 2 * radius, radius, never, never, "real", "d" * 64)
    distance = torch.tensor([math.inf, math.inf, 0.125, math.inf], dtype=torch.float64)
    status = ("wrong", "certified", "broken", "undecided")
    return lp.Report(
        status="ok",
        problems=(),
        model=ModelSummary("net", "conv", 1234, "a" * 64, "d" * 64),
        dataset=DatasetSummary("toys", "test", 4, "by hand"),
        lipschitz=lp.LipschitzBound(
            3.0, (LayerBound("00 conv", 3.0, "explicit"), LayerBound("01 minmax", 1.0, "x")), "m"
        ),
        arithmetic="real",
        clean_accuracy=0.75,
        eps=(EpsResult(EPS, 0.25, (0.0456, 0.6994), {"autoattack": 0.5}, dict.fromkeys(status, 1)),),
        audit=AuditResult(2, 0, math.inf),
        skipped_certified=True,
        attacks=("autoattack",),
        cost=Cost(0.5, 1.5, 1000),
        environment={"lip_plugin": "0", "torch": "2", "device": "cpu", "seed": 0},
        points=Points(
            torch.tensor([0, 1, 2, 0]),
            certificate,
            distance,
            ("", "", "autoattack:fab-t", ""),
            ("", "", "float64", ""),
            {EPS: status},
        ),
        differences=(Difference(EPS, 3, "undecided", "broken"),),
        input_shape=(1, 2, 2),
        audit_asked=2,
        batch_size=256,
        stages=(
            StageRecord(EPS, "audit autoattack:apgd-ce", 1, 0, 111),
            StageRecord(EPS, "autoattack:fab-t", 2, 1, 889),
        ),
        adversarial=(AdversarialImage(2, torch.zeros(1, 2, 2), torch.full((1, 2, 2), 0.0625)),),
    )


HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)></svg></title>{{ 7*7 }} $\\frac{ \u202e&amp;"


@pytest.fixture(scope="session")
def hostile_report(report: lp.Report) -> lp.Report:
    """Every text that a stranger can choose tries to be something else."""
    (result,) = report.eps
    layer = LayerBound(HOSTILE, 2.0, HOSTILE)
    return dataclasses.replace(
        report,
        model=ModelSummary(HOSTILE, HOSTILE, 1, HOSTILE, HOSTILE),
        dataset=DatasetSummary(HOSTILE, HOSTILE, 4, HOSTILE),
        eps=(dataclasses.replace(result, empirical_robust_accuracy={HOSTILE: 0.5}),),
        attacks=(HOSTILE,),
        lipschitz=lp.LipschitzBound(2.0, (layer,), HOSTILE),
        points=dataclasses.replace(report.points, attack=("", "", HOSTILE, "")),
        environment={**report.environment, HOSTILE: HOSTILE},
        options=Options(data=HOSTILE, device=HOSTILE),
        stages=(StageRecord(EPS, HOSTILE, 1, 0, 1),),
        status="failed",
        problems=(HOSTILE,),
    )


@pytest.fixture(scope="session")
def page(report: lp.Report) -> str:
    """With images."""
    pytest.importorskip("matplotlib", reason="needs the extra report")
    return html(report, gallery=True)


@pytest.fixture(scope="session")
def hostile_page(hostile_report: lp.Report) -> str:
    pytest.importorskip("matplotlib", reason="needs the extra report")
    return html(hostile_report, gallery=True)


class Elements(HTMLParser):
    """(tag, attributes) of all elements, the text of every element with ``data-field``, and that of the script."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.all: list[tuple[str, dict[str, str]]] = []
        self.fields: list[tuple[str, str, str]] = []
        self.script = ""
        self._open: dict[str, str] = {}
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._open = {name: value or "" for name, value in attrs}
        self.all.append((tag, self._open))
        if "data-field" in self._open:
            self.fields.append((self._open["data-field"], self._open["data-form"], ""))

    def handle_endtag(self, tag: str) -> None:
        self._open = {}

    def handle_data(self, data: str) -> None:
        if "data-field" in self._open:
            pointer, form, text = self.fields[-1]
            self.fields[-1] = (pointer, form, text + data)
        if self.all and self.all[-1][0] == "script" and self._open:
            self.script += data


@pytest.fixture
def elements() -> type[Elements]:
    return Elements


@pytest.fixture
def shown_as() -> Callable[[Any, str, str, str], bool]:
    """shown_as(document, pointer, form, text): whether a text of the page is the number that report.json has there."""
    return _shown_as


def _shown_as(document: Any, pointer: str, form: str, text: str) -> bool:
    value: Any = document
    for token in pointer.split("/")[1:]:
        key = token.replace("~1", "/").replace("~0", "~")
        value = value[int(key)] if isinstance(value, list) else value[key]
    if value is None:
        return text == "none"
    if form in ("rounded_down", "rounded_up"):
        excess = float(text) - value if form == "rounded_up" else value - float(text)
        return 0 <= excess <= 1e-3 * abs(value)
    written = {
        "bare_percent": lambda: f"{round(100 * value, 1):.1f}",
        "count": lambda: f"{value:,d}",
        "eps": lambda: text if _ratio(text) == value else "no",
        "percent": lambda: f"{100 * value:.1f} %",
        "ratio": lambda: f"{value:.3f}",
        "seconds": lambda: f"{value:.1f} s",
        "text": lambda: str(value).replace("\u202e", "\\u202e"),
    }[form]()
    return text == written


def _ratio(text: str) -> float:
    over, _, under = text.partition("/")
    return float(over) / float(under or 1)
