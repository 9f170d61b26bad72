"""``report.json`` as values: what is read again is what was written, and what nobody can have found is not read."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lip_plugin.errors import CheckpointError
from lip_plugin.schema import points_text, read_points, read_report, report_text

from .forging import edit_json, rehash

Change = Callable[[Any], object]


def test_it_reads_back_as_it_was_written(honest: Path) -> None:
    file, table = honest / "report" / "report.json", honest / "report" / "points.csv"
    report = read_report(file)
    points = read_points(table, tuple(result.eps for result in report.eps))
    assert report_text(report) == file.read_text("utf-8")
    assert points_text(points) == table.read_text("utf-8")
    assert len(points) == report.dataset.n == 24


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda report: report.update(more=1), "more"),
        (lambda report: report.pop("audit"), "audit"),
        (lambda report: report.update(clean_accuracy="0.5"), "clean_accuracy"),
        (lambda report: report.update(clean_accuracy=1.5), "clean_accuracy"),
        (lambda report: report.update(skipped_certified=1), "skipped_certified"),
        (lambda report: report["dataset"].update(n=24.0), "dataset/n"),
        (
            lambda report: report["dataset"].update(n=10_000),
            "/eps/0/counts: expected four numbers that add up to 10000",
        ),
        (lambda report: report["lipschitz"].update(upper_bound=-1.0), "lipschitz/upper_bound"),
        (lambda report: report.update(clean_accuracy=0.999), "/clean_accuracy: expected 20 of 24"),
        (lambda report: report["eps"][0].update(verified_robust_accuracy=0.998), "/eps/0/verified_robust_accuracy"),
        (lambda report: report["eps"][1]["counts"].update(certified=24), "/eps/1/counts"),
        (lambda report: report["eps"][1]["counts"].pop("broken"), "/eps/1/counts"),
        (lambda report: report["eps"][2]["empirical_robust_accuracy"].update({"two-steps": 1.0}), "survives two-steps"),
        (lambda report: report["eps"][2]["empirical_robust_accuracy"].update(other=0.5), "one share for each"),
        (lambda report: report["statistics"]["classes"].pop(), "/statistics/classes"),
        (lambda report: report["audit"].update(attacked_certified=1), "the stages tell of 0"),
        (lambda report: report["stages"][0].update(forwards=10**6), "/cost/attack_forwards"),
    ],
)
def test_what_nobody_can_have_found_is_not_read(honest: Path, tmp_path: Path, change: Change, named: str) -> None:
    report = json.loads((honest / "report" / "report.json").read_text("utf-8"))
    change(report)
    (tmp_path / "report.json").write_text(json.dumps(report))
    with pytest.raises(CheckpointError) as refused:
        read_report(tmp_path / "report.json")
    assert named in str(refused.value) and "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "change",
    [
        lambda report: report.update(arithmetic="bfloat16"),
        lambda report: report["eps"][1]["counts"].update(certified=24),
        lambda report: report["dataset"].update(of=10),
        lambda report: report["model"].update(name=""),
        lambda report: report["request"].update(command="rm -r ."),
    ],
)
def test_verifier_and_leaderboard_refuse_it_in_the_same_words(
    bundle: Path, data_file: Path, lip: Callable[..., Any], tmp_path: Path, change: Change
) -> None:
    file = bundle / "report" / "report.json"
    edit_json(file, change)
    rehash(bundle)
    with pytest.raises(CheckpointError) as refused:
        read_report(file)
    verified = lip("verify", bundle, "--data", data_file)
    listed = lip("leaderboard", bundle, "--out", tmp_path / "board")
    assert (verified.code, listed.code) == (1, 2)
    assert str(refused.value) in verified.err and str(refused.value) in listed.err
    assert not (tmp_path / "board").exists()


def test_reading_needs_no_torch() -> None:
    check = "import sys, lip_plugin.schema; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", check], check=True)
