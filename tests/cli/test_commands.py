"""Commands end to end: what is printed, written and returned."""

from __future__ import annotations

import csv
import dataclasses
import importlib
import json
import math
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import lip_plugin as lp
from lip_plugin.types import parse_eps

Lip = Any
EPS = "36/255,0.5"


def test_list_and_info(lip: Lip) -> None:
    listed = json.loads(lip("list", "--json").out)
    assert [row["name"] for row in listed] == lp.list_models()
    assert "LipPlugin2026_LiResNet_Demo" in lip("list").out
    assert lip("list", "--dataset", "no_such_set").out.count("\n") == 1
    card = json.loads(lip("info", "LipPlugin2026_LiResNet_Demo", "--json").out)
    assert card == lp.model_card("LipPlugin2026_LiResNet_Demo").model_dump(mode="json", by_alias=True)
    assert card["sha256"] in lip("info", "LipPlugin2026_LiResNet_Demo").out


def test_list_datasets(lip: Lip) -> None:
    """The columns and keys are for scripts: they stay."""
    listed = {record["name"]: record for record in json.loads(lip("list", "--datasets", "--json").out)}
    assert {"cifar10", "cifar100", "fashion_mnist", "imagenet", "mnist", "tiny_imagenet"} <= set(listed)
    assert list(listed["cifar10"]) == [
        "name",
        "title",
        "image_shape",
        "num_classes",
        "class_names",
        "standard_eps",
        "test_images",
        "may_be_shown",
        "download",
        "files",
    ]
    assert (listed["cifar10"]["image_shape"], listed["cifar10"]["standard_eps"]) == ([3, 32, 32], 36 / 255)
    head, first, *_ = lip("list", "--datasets").out.splitlines()
    assert re.split("  +", head) == ["name", "images", "classes", "eps", "download", "files in --data-dir"]
    assert re.split("  +", first)[:5] == ["cifar10", "3 x 32 x 32", "10", "36/255", "yes"]
    both = lip("list", "--datasets", "--dataset", "cifar10")
    assert (both.code, both.err.count("\n")) == (2, 1)


def test_listing_imports_no_heavy_library() -> None:
    code = (
        "import sys; from lip_plugin.cli import run; run(['list']); run(['list', '--datasets']); "
        "print(sorted({'torch', 'numpy', 'safetensors', 'rich', 'pyautoattack'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_certify_prints_and_writes_what_the_library_says(
    lip: Lip, model_dir: Path, data_file: Path, tmp_path: Path
) -> None:
    out = tmp_path / "report"
    printed = lip("certify", model_dir, "--data", data_file, "--eps", EPS, "--json", "--out", out)
    assert (printed.code, printed.err) == (0, "")
    report = json.loads((out / "report.json").read_text())
    assert json.loads(printed.out) == report
    model = lp.load_model(model_dir)
    with np.load(data_file) as archive:
        x, y = torch.from_numpy(archive["x"]).float() / 255, torch.from_numpy(archive["y"])
    certificate = lp.certify(model, x)
    assert report["clean_accuracy"] == float((certificate.prediction == y).double().mean())
    for entry, eps in zip(report["eps"], EPS.split(","), strict=True):
        assert entry["eps"] == parse_eps(eps)
        assert entry["verified_robust_accuracy"] == lp.verified_robust_accuracy(certificate, y, entry["eps"])
        assert entry["counts"]["certified"] == round(24 * entry["verified_robust_accuracy"])
        assert sum(entry["counts"].values()) == 24
    assert report["model"]["digest"] == model.digest
    assert report["lipschitz"]["upper_bound"] == lp.lipschitz_upper_bound(model).value
    assert sorted(path.name for path in out.iterdir()) == ["points.csv", "report.html", "report.json", "report.md"]


def test_report_json_has_the_documented_keys(lip: Lip, model_dir: Path, data_file: Path) -> None:
    outcome = lip(
        "compare", model_dir, "--data", data_file, "--eps", "0.1", "--json", "--attacks", "autoattack:apgd-ce"
    )
    report = json.loads(outcome.out)
    documented = {
        "schema", "status", "model", "dataset", "threat_model", "lipschitz", "arithmetic", "clean_accuracy", "eps",
        "audit", "skipped_certified", "cost", "environment", "points",
    }  # fmt: skip
    assert documented <= set(report)
    assert report["schema"] == "lip-report/1"
    assert set(report["model"]) == {"name", "architecture", "params", "sha256", "digest"}
    assert set(report["dataset"]) == {"name", "split", "n", "source", "classes", "of", "in_order", "of_classes"}
    assert set(report["lipschitz"]) == {"upper_bound", "method", "effort", "layers"}
    assert set(report["eps"][0]) == {
        "eps", "verified_robust_accuracy", "vra_interval95", "empirical_robust_accuracy", "counts"
    }  # fmt: skip
    assert set(report["audit"]) == {"attacked_certified", "broken", "smallest_distance_over_radius"}
    assert set(report["cost"]) == {"certify_seconds", "attack_seconds", "attack_forwards"}
    assert {"lip_plugin", "torch", "device", "seed"} <= set(report["environment"])


def test_compare_writes_points_that_agree_with_the_report(
    lip: Lip, model_dir: Path, data_file: Path, tmp_path: Path
) -> None:
    out = tmp_path / "report"
    arguments = ["--data", data_file, "--eps", EPS, "--attacks", "autoattack:apgd-ce,autoattack:fab-t", "--out", out]
    outcome = lip("compare", model_dir, *arguments, "--no-skip-certified")
    assert outcome.code == 0, outcome.err
    assert "proved (VRA)" in outcome.out
    report = json.loads((out / "report.json").read_text())
    with (out / "points.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["index"]) for row in rows] == list(range(24))
    for entry, column in zip(report["eps"], ["status@36/255", "status@0.5"], strict=True):
        statuses = [row[column] for row in rows]
        assert entry["counts"] == {name: statuses.count(name) for name in entry["counts"]}
        eps, attacked = entry["eps"], entry["empirical_robust_accuracy"]
        assert set(attacked) == {"autoattack:apgd-ce", "autoattack:fab-t"}
        for share in attacked.values():
            assert entry["verified_robust_accuracy"] <= share <= report["clean_accuracy"]
        for row, status in zip(rows, statuses, strict=True):
            distance = float(row["adversarial_distance"] or math.inf)
            assert (status == "certified") == (row["label"] == row["prediction"] and float(row["radius"]) > eps)
            assert distance >= float(row["radius"])
            assert (status == "broken") <= (distance <= eps)
    assert report["skipped_certified"] is False


def test_the_same_command_gives_the_same_report(lip: Lip, model_dir: Path, data_file: Path) -> None:
    arguments = [
        "compare",
        model_dir,
        "--data",
        data_file,
        "--eps",
        "0.3",
        "--attacks",
        "autoattack:square?n_queries=200",
        "--json",
    ]
    first, second = (json.loads(lip(*arguments).out) for _ in range(2))
    for report in (first, second):
        report.pop("cost")
    assert first == second


def test_a_failed_audit_exits_with_1_and_still_writes_the_report(
    lip: Lip, model_dir: Path, data_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Radii inflated by 1.01 on a linear classifier: the canary of the whole command."""
    compare = importlib.import_module("lip_plugin.evaluate.evaluation")
    honest = compare.certify_together

    def inflated(*arguments: Any, **settings: Any) -> lp.Certificate:
        certificate = honest(*arguments, **settings)
        return dataclasses.replace(certificate, radius=certificate.radius * 1.01)

    monkeypatch.setattr(compare, "certify_together", inflated)
    out = tmp_path / "report"
    attacks = "autoattack:apgd-ce,autoattack:fab-t"
    outcome = lip("compare", model_dir, "--data", data_file, "--eps", "0.5", "--attacks", attacks, "--out", out)
    assert outcome.code == 1
    assert outcome.err.startswith("lip: unsound certificate: image ")
    assert outcome.err.count("\n") == 1
    report = json.loads((out / "report.json").read_text())
    assert report["status"] == "failed"
    assert report["audit"]["broken"] >= 1
    assert report["audit"]["smallest_distance_over_radius"] < 1
    assert "FAILED" in outcome.out


def test_overwrite_replaces_a_report(lip: Lip, model_dir: Path, data_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "report"
    for eps in ("0.1", "0.2"):
        assert lip("certify", model_dir, "--data", data_file, "--eps", eps, "--out", out, "--overwrite").code == 0
    assert json.loads((out / "report.json").read_text())["eps"][0]["eps"] == 0.2
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_help_and_version(lip: Lip) -> None:
    assert "compare" in lip("--help").out
    assert lip("--version").out.strip() == f"lip, version {lp.__version__}"
    assert lip("nonsense").code == 2


def test_a_defect_of_ours_does_not_look_like_a_failed_check(
    lip: Lip, model_dir: Path, data_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit code 1 means that a certificate was contradicted; a crash has its own code and shows where it came from."""

    def crash(*arguments: Any, **settings: Any) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr("lip_plugin.cli.task.evaluate_images", crash)
    outcome = lip("certify", model_dir, "--data", data_file)
    assert outcome.code == 70
    assert "ZeroDivisionError: a bug" in outcome.err
