"""Outputs: a place that fills up is found out before the work, and what was worked out is not lost with stdout."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from lip_plugin.files import complete_directory

Lip = Any

COMMANDS = {
    "certify": [],
    "compare": [],
    "submit": ["--board", "own"],
    "leaderboard": [],
    "train": ["data_dir=nowhere"],
}
_NAMED = {"certify", "compare", "submit"}


def _forbidden(*arguments: object, **settings: object) -> None:
    pytest.fail("worked before it asked for permission")


@pytest.fixture
def idle(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing may be loaded."""
    for place in ("cli.task.select_model", "leaderboard.entries_of_zoo", "train.run.load_splits"):
        monkeypatch.setattr(f"lip_plugin.{place}", _forbidden)


def call(lip: Lip, command: str, out: Path, model_dir: Path) -> Any:
    subject = [model_dir] if command in _NAMED else ["fashion_mnist"] if command == "train" else []
    return lip(command, *subject, *COMMANDS[command], "--out", out)


def refused(outcome: Any, *fragments: str) -> None:
    assert (outcome.code, outcome.out, outcome.err.count("\n")) == (2, "", 1), outcome
    for fragment in fragments:
        assert fragment in outcome.err


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.usefixtures("idle")
def test_a_place_where_nothing_can_be_made(
    lip: Lip, model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    """Whatever a look at it promises: quotas, read-only mounts, network file systems."""
    make = os.mkdir

    def full(path: Any, *arguments: Any, **settings: Any) -> None:
        if str(path).startswith(str(tmp_path / "there")):
            raise OSError(122, "Disk quota exceeded")
        make(path, *arguments, **settings)

    (tmp_path / "there").mkdir()
    monkeypatch.setattr(os, "mkdir", full)
    refused(call(lip, command, tmp_path / "there" / "out", model_dir), "is not writable: Disk quota exceeded")
    assert list((tmp_path / "there").iterdir()) == []


def test_a_saved_model(tmp_path: Path, model_dir: Path) -> None:
    import lip_plugin as lp

    model = lp.load_model(model_dir)
    with pytest.raises(lp.ConfigError, match=r"/proc/x is not writable"):
        model.save("/proc/x")


def test_training_asks_inside_a_directory_that_is_there(
    lip: Lip, model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It fills that directory itself; and what a killed run half wrote there is no stranger's."""
    out = tmp_path / "run"
    with complete_directory(out) as folder:
        (folder / ".checkpoint.pt.partial").write_text("half")
    made: list[Path] = []
    make = os.mkdir
    monkeypatch.setattr(os, "mkdir", lambda path, *rest: (made.append(Path(path)), make(path, *rest)))
    refused(lip("train", "fashion_mnist", "data_dir=nowhere", "--out", out, "--overwrite"), "does not exist")
    assert [path.parent for path in made] == [out]
    assert [path.name for path in out.iterdir()] == [".checkpoint.pt.partial"]


def test_a_report_survives_a_stdout_that_does_not(
    lip: Lip, model_dir: Path, data_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def closed(*arguments: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("lip_plugin.report.print_report", closed)
    shared = [model_dir, "--data", data_file, "--eps", "0.05", "--attacks", "autoattack:apgd-ce", "--audit", "0"]
    for command, more in (("compare", []), ("submit", ["--board", "own"])):
        assert lip(command, *shared, *more, "--out", tmp_path / command).code == 70
        assert (tmp_path / command).is_dir()
