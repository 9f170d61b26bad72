"""The written report against a hand-made one."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from pathlib import Path

import pytest

import lip_plugin as lp
from lip_plugin.evaluate import DatasetSummary
from lip_plugin.report import markdown, points_csv, print_report, report_document, write_report

EPS = 36 / 255


def test_document_is_json_with_the_findings(report: lp.Report) -> None:
    document = json.loads(json.dumps(report_document(report), allow_nan=False))
    assert document["eps"] == [
        {
            "eps": EPS,
            "verified_robust_accuracy": 0.25,
            "vra_interval95": [0.0456, 0.6994],
            "empirical_robust_accuracy": {"autoattack": 0.5},
            "counts": {"wrong": 1, "certified": 1, "broken": 1, "undecided": 1},
        }
    ]
    assert document["audit"] == {"attacked_certified": 2, "broken": 0, "smallest_distance_over_radius": None}
    assert document["lipschitz"]["layers"][0] == {"name": "00 conv", "upper_bound": 3.0, "method": "explicit"}
    assert document["protocol_differences"] == [
        {"eps": EPS, "index": 3, "certificate_aware": "undecided", "full": "broken"}
    ]


def test_points_read_back_exactly(report: lp.Report) -> None:
    rows = list(csv.DictReader(io.StringIO(points_csv(report))))
    assert list(rows[0]) == [
        "index", "label", "prediction", "margin", "radius", "adversarial_distance", "attack",
        "disagrees", "program", "status@36/255",
    ]  # fmt: skip
    assert [float(row["radius"]) for row in rows] == report.points.certificate.radius.tolist()
    assert [row["adversarial_distance"] for row in rows] == ["", "", "0.125", ""]
    assert [row["status@36/255"] for row in rows] == ["wrong", "certified", "broken", "undecided"]


def test_markdown_and_terminal_show_the_same_row(report: lp.Report, capsys: pytest.CaptureFixture[str]) -> None:
    print_report(report)
    shown, written = capsys.readouterr().out, markdown(report)
    for text in (shown, written):
        for fragment in ("36/255", "25.0 %", "4.6 to 69.9", "50.0 %", "clean accuracy 75.0 %", "not attacked"):
            assert fragment in text, fragment
    assert "| 00 conv | 3.000000 | explicit |" in written
    assert "minmax" not in written


def test_markdown_holds_no_markup_of_a_stranger(report: lp.Report) -> None:
    hostile = "2\n\n# Forged <b>*x*</b>"
    bound = dataclasses.replace(report.lipschitz, method=hostile)
    environment = {**report.environment, "torch": hostile}
    named = dataclasses.replace(report, lipschitz=bound, environment=environment, problems=(hostile,))
    written = markdown(named)
    headings = [line for line in markdown(report).splitlines() if line.startswith("#")]
    assert [line for line in written.splitlines() if line.startswith("#")] == headings
    assert written.count(r"2\\n\\n# Forged \<b\>\*x\*\</b\>") == 3


def test_files_appear_together_or_not_at_all(report: lp.Report, tmp_path: Path) -> None:
    out = tmp_path / "deep" / "report"
    write_report(report, out)
    assert {path.name for path in out.iterdir()} - {"report.html"} == {"points.csv", "report.json", "report.md"}
    with pytest.raises(lp.ConfigError, match="not empty"):
        write_report(report, out)
    broken = report.described(dataset=DatasetSummary("toys", object(), 4, "x"))  # pyright: ignore[reportArgumentType]
    with pytest.raises(TypeError):
        write_report(broken, tmp_path / "other")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["deep"]
