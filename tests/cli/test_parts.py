"""`--part I/N` and `lip merge`: independent jobs make the report of one, and what does not belong together is named."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lip_plugin.evaluate.evaluation as evaluation
from lip_plugin.certificates import Certificate
from lip_plugin.evaluate.certified import certify_together
from lip_plugin.evaluate.unit_file import load_unit

from .evaluations import require_same, words

Lip = Callable[..., Any]


def in_parts(lip: Lip, command: list[str], count: int, folder: Path) -> list[Path]:
    parts = [folder / f"part{number}" for number in range(1, count + 1)]
    for number, part in enumerate(parts, 1):
        outcome = lip(*command, "--part", f"{number}/{count}", "--out", part)
        assert (outcome.code, outcome.err) == (0, ""), outcome
    return parts


@pytest.mark.parametrize("name", ["certify", "audited", "full"])
def test_three_parts_are_the_report_of_one_run(
    name: str, lip: Lip, model_dir: Path, data_file: Path, tmp_path: Path
) -> None:
    command = words(name, model_dir, data_file)
    assert lip(*command, "--out", tmp_path / "reference").code == 0
    parts = in_parts(lip, command, 3, tmp_path)
    blocks = [[int(path.stem[-6:]) for path in part.glob("certificate-*")] for part in parts]
    assert list(map(sorted, blocks)) == [[0, 3], [1, 4], [2, 5]]
    (tmp_path / "elsewhere").mkdir()
    moved = data_file.rename(tmp_path / "elsewhere" / data_file.name)
    merged = lip("merge", tmp_path / "out", *reversed(parts), "--data", f"npz:{moved}", "--quiet")
    assert merged.code == 0, merged
    require_same(tmp_path / "out", tmp_path / "reference")
    spent = [load_unit(path, limit=2**20)[0]["seconds"] for part in parts for path in part.glob("aware-*.unit")]
    cost = json.loads((tmp_path / "out" / "report.json").read_bytes())["cost"]
    assert name != "compare" or cost["attack_seconds"] > sum(spent) > 0
    assert not (tmp_path / "out.partial").exists()


def test_a_contradiction_is_the_same_in_parts(
    lip: Lip, model_dir: Path, data_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The audit, which the parts do not have, takes an image's certificate: then others are attacked."""

    def overstated(*arguments: Any, **settings: Any) -> Certificate:
        certificate = certify_together(*arguments, **settings)
        return dataclasses.replace(certificate, radius=certificate.radius * 1.5)

    monkeypatch.setattr(evaluation, "certify_together", overstated)
    command = words("audited", model_dir, data_file)
    assert lip(*command, "--out", tmp_path / "reference").code == 1
    outcome = lip("merge", tmp_path / "out", *in_parts(lip, command, 2, tmp_path), "--quiet")
    assert outcome.code == 1 and "unsound certificate" in outcome.err
    require_same(tmp_path / "out", tmp_path / "reference")


@pytest.fixture
def parts(lip: Lip, model_dir: Path, data_file: Path, tmp_path: Path) -> list[Path]:
    return in_parts(lip, words("certify", model_dir, data_file), 2, tmp_path)


def refused(outcome: Any, *lines: str) -> None:
    """One line for each flaw."""
    told = outcome.err.splitlines()
    assert (outcome.code, outcome.out, len(told)) == (2, "", len(lines)), outcome
    for line, fragment in zip(told, lines, strict=True):
        assert fragment in line


def test_a_part_that_is_missing_or_given_twice_is_named(lip: Lip, parts: list[Path], tmp_path: Path) -> None:
    one, two = parts
    shutil.copytree(one, tmp_path / "again")
    refused(lip("merge", tmp_path / "out", one), "part 2/2 is missing")
    refused(lip("merge", tmp_path / "out", one, tmp_path / "again", two), "give it once")
    refused(lip("merge", tmp_path / "out", tmp_path / "nowhere", two), "nowhere is no finished part", "part 1/2 is")
    assert not (tmp_path / "out").exists()


def test_a_damaged_part_is_named(lip: Lip, parts: list[Path], tmp_path: Path) -> None:
    one, two = parts
    unit = one / "certificate-000002.unit"
    content = bytearray(unit.read_bytes())
    content[100] ^= 1
    unit.write_bytes(content)
    (two / "certificate-000001.unit").unlink()
    (two / "certificate-000002.unit").write_bytes(b"")
    refused(
        lip("merge", tmp_path / "out", one, two),
        f"{unit} is damaged",
        "part2/certificate-000002.unit is not of this part",
        "part2/certificate-000001.unit is missing",
    )


def test_a_part_of_something_else_is_named(
    lip: Lip, parts: list[Path], model_dir: Path, data_file: Path, tmp_path: Path
) -> None:
    one, two = parts
    for number, settings in enumerate([["--eps", "0.1"], ["--n", "20"]]):
        other = tmp_path / f"other{number}"
        assert lip(*words("certify", model_dir, data_file), *settings, "--part", "2/2", "--out", other).code == 0
        named = "'eps'" if number == 0 else "'images'"
        refused(lip("merge", tmp_path / "out", one, other), f"differ in {named}", "part 2/2 is missing")
    refused(lip("merge", tmp_path / "out", *parts, "--data", f"npz:{data_file}", "--device", "meta"), "meta")
    document = json.loads((two / "part.json").read_text())
    del document["asked"]["eps"]
    (one / "part.json").write_text(json.dumps(document | {"part": 1, "files": []}))
    (two / "part.json").write_text("[1]")
    outcome = lip("merge", tmp_path / "out", one, two)
    assert outcome.code == 2 and "part2/part.json is not what --part has written" in outcome.err


def test_merge_needs_the_model_of_its_parts(lip: Lip, parts: list[Path], data_file: Path, tmp_path: Path) -> None:
    arrays = dict(np.load(data_file))
    arrays["y"][3] = (arrays["y"][3] + 1) % 3
    np.savez(tmp_path / "other.npz", **arrays)
    outcome = lip("merge", tmp_path / "out", *parts, "--data", f"npz:{tmp_path / 'other.npz'}")
    refused(outcome, "labels there and here")


@pytest.mark.parametrize("text", ["0/3", "4/3", "1/0", "x", "1/2/3", "-1/3"])
def test_what_is_no_part_is_refused(text: str, lip: Lip, model_dir: Path, data_file: Path, tmp_path: Path) -> None:
    outcome = lip(*words("certify", model_dir, data_file), "--part", text, "--out", tmp_path / "out")
    refused(outcome, "--part")
    refused(lip(*words("certify", model_dir, data_file), "--part", "1/3"), "give --out")


@pytest.mark.parametrize("harm", ["removed", "changed", "a folder"])
def test_a_part_that_is_not_whole_is_not_called_finished(
    lip: Lip, parts: list[Path], model_dir: Path, data_file: Path, tmp_path: Path, harm: str
) -> None:
    unit = parts[0] / "certificate-000000.unit"
    whole = unit.read_bytes()
    unit.unlink()
    if harm == "changed":
        unit.write_bytes(whole + b"x")
    elif harm == "a folder":
        unit.mkdir()
    command = [*words("certify", model_dir, data_file), "--part", "1/2", "--out", parts[0], "--resume"]
    refused(lip("merge", tmp_path / "out", *parts), "run part 1/2 again, with --overwrite")
    refused(lip(*command), "exists and is not empty")
    assert lip(*command, "--overwrite").code == 0
    assert lip("merge", tmp_path / "out", *parts, "--quiet").code == 0


def test_a_part_that_is_there_is_not_done_again(lip: Lip, parts: list[Path], model_dir: Path, data_file: Path) -> None:
    """A job that is put back into a queue says --resume, whether it had come to its end or not."""
    command = [*words("certify", model_dir, data_file), "--part", "1/2", "--out", parts[0]]
    before = {path: path.stat().st_mtime_ns for path in parts[0].iterdir()}
    outcome = lip(*command, "--resume", "--workers", "1")
    assert (outcome.code, outcome.out, outcome.err) == (0, f"Part 1 of 2 is in {parts[0]} already\n", "")
    assert {path: path.stat().st_mtime_ns for path in parts[0].iterdir()} == before
    refused(lip(*command), "not empty; choose another one or pass --overwrite")
    refused(lip(*command, "--resume", "--eps", "0.1"), "not empty")
    assert lip(*command, "--overwrite", "--eps", "0.1").code == 0
    assert json.loads((parts[0] / "part.json").read_text())["asked"]["eps"] == "0.1"
    (parts[0] / "notes.txt").write_text("mine")
    refused(lip(*command, "--overwrite"), "'notes.txt'")
