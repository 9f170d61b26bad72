"""A report as text: what a session prints is what the command prints."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import lip_plugin as lp
from lip_plugin.files import REPORT_FILES
from lip_plugin.report import print_report
from lip_plugin.report.document import report_document


def test_print_shows_what_the_command_shows(report: lp.Report, capsys: pytest.CaptureFixture[str]) -> None:
    print_report(report)
    of_command = [line.rstrip() for line in capsys.readouterr().out.strip().split("\n")]
    print(report)
    assert capsys.readouterr().out.strip().split("\n") == of_command


def test_a_report_is_one_line_to_look_at(report: lp.Report, hostile_report: lp.Report) -> None:
    assert report.model.name in repr(report)
    for result in report.eps:
        assert f"{100 * result.verified_robust_accuracy:.1f} % at" in repr(report)
    for one in (report, hostile_report):
        assert "\n" not in repr(one)
        assert repr(one).isprintable()


def test_save_writes_every_file_or_refuses(report: lp.Report, tmp_path: Path) -> None:
    out = tmp_path / "report"
    report.save(out)
    assert {entry.name for entry in out.iterdir()} == REPORT_FILES
    assert json.loads((out / "report.json").read_text()) == report_document(report)
    with pytest.raises(lp.ConfigError, match="not empty"):
        report.save(out)
    report.save(out, overwrite=True)
    (out / "mine.txt").write_text("kept")
    with pytest.raises(lp.ConfigError):
        report.save(out, overwrite=True)
