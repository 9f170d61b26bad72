"""`OUT.partial`: whatever ends a command, and whenever, `--resume` writes the report of an uninterrupted run."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import lip_plugin as lp
import lip_plugin.evaluate.journal as journal
from lip_plugin.cli import signals
from lip_plugin.evaluate.unit_file import dump_unit, load_unit
from lip_plugin.files import write_atomically

from .evaluations import ended, go_on, words

Lip = Callable[..., Any]

pytestmark = pytest.mark.skipif(os.name != "posix", reason="forks processes that are killed")


def units(out: Path) -> list[Path]:
    return sorted(out.with_name(f"{out.name}.partial").glob("*.unit"))


def killed_after(count: int, out: Path) -> Callable[[int], None]:
    """Once so many units are there."""

    def wait(process: int) -> None:
        for _ in range(20_000):
            if len(units(out)) >= count or out.exists():
                break
            time.sleep(0.002)
        os.kill(process, signal.SIGKILL)

    return wait


@pytest.mark.parametrize(("name", "count"), [("compare", 1), ("compare", 9), ("certify", 3)])
def test_a_killed_command_goes_on(
    name: str, count: int, lip: Lip, model_dir: Path, data_file: Path, tmp_path: Path
) -> None:
    command, out = words(name, model_dir, data_file), tmp_path / "out"
    assert lip(*command, "--out", tmp_path / "reference").code == 0
    code = ended([*command, "--out", str(out)], killed_after(count, out))
    assert code == -signal.SIGKILL or out.exists()
    go_on(lip, command, out, tmp_path / "reference")


def test_a_line_for_every_unit_and_stage(lip: Lip, compare: list[str]) -> None:
    """Two stages, two radii; six blocks, of which some have nothing left to attack."""
    told = lip(*compare, "-v", "--jobs", "1", "--json")
    rows = json.loads(told.out)["stages"]
    lines = told.err.splitlines()
    stages = [line for line in lines if " done: " in line]
    assert [line.partition(" done: ")[2] for line in stages] == [
        f"{row['images']} images, {row['broken']} broken, {row['forwards']} forwards" for row in rows
    ]
    units = [line for line in lines if re.search(r", block [1-6] of 6: \d+ of \d+ images broken$", line)]
    assert len(units) + len(stages) == len(lines) and units


# --- what ends in one line ---


def stopped(lip: Lip, command: list[str], out: Path, monkeypatch: pytest.MonkeyPatch, *, after: int, error: Any) -> Any:
    """Where so many units are written the next one meets an error."""
    write, count = journal.write_atomically, [0]

    def limited(path: Path, content: bytes) -> None:
        count[0] += path.suffix == ".unit"
        if count[0] > after:
            raise error
        write(path, content)

    with monkeypatch.context() as context:
        context.setattr(journal, "write_atomically", limited)
        return lip(*command, "--out", out)


def one_line(outcome: Any, *fragments: str) -> None:
    assert (outcome.code, outcome.out, outcome.err.count("\n")) == (2, "", 1), outcome
    for fragment in fragments:
        assert fragment in outcome.err


@pytest.fixture
def out(lip: Lip, model_dir: Path, data_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Of `compare`: six certificates and three units of attacks are there, then the disk is full."""
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    outcome = stopped(lip, words("compare", model_dir, data_file), tmp_path / "out", monkeypatch, after=9, error=full)
    one_line(outcome, "No space left on device", "is kept", "--resume")
    assert len(units(tmp_path / "out")) == 9 and not (tmp_path / "out").exists()
    return tmp_path / "out"


@pytest.fixture
def compare(model_dir: Path, data_file: Path) -> list[str]:
    return words("compare", model_dir, data_file)


def test_a_full_disk_keeps_what_is_done(
    lip: Lip, compare: list[str], out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert lip(*compare, "--out", tmp_path / "reference").code == 0
    one_line(lip(*compare, "--out", out), "out.partial", "--resume", "remove")
    kept, written = units(out), list[Path]()
    monkeypatch.setattr(
        journal, "write_atomically", lambda path, content: (written.append(path), write_atomically(path, content))
    )
    go_on(lip, compare, out, tmp_path / "reference")
    assert written and not set(kept) & set(written)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_says_how_far_it_came(
    number: signal.Signals, lip: Lip, compare: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signals, "_received", [number])
    outcome = stopped(lip, compare, tmp_path / "out", monkeypatch, after=7, error=signals.SignalledError())
    assert outcome.code == 128 + number
    far, end = outcome.err.splitlines()
    assert "6 blocks of images are certified, 1 units of attacks are done" in far and "--resume" in far
    assert end == ("lip: interrupted" if number == signal.SIGINT else "lip: stopped by SIGTERM")


@pytest.mark.parametrize("kind", ["certificate", "aware"])
@pytest.mark.parametrize("damage", ["cut", "bit", "renamed"])
def test_a_damaged_unit_is_named(kind: str, damage: str, lip: Lip, compare: list[str], out: Path) -> None:
    first, second = [path for path in units(out) if path.name.startswith(kind)][:2]
    content = bytearray(first.read_bytes())
    if damage == "bit":
        content[len(content) // 2] ^= 1
    first.write_bytes({"cut": content[:-7], "bit": content, "renamed": second.read_bytes()}[damage])
    one_line(lip(*compare, "--out", out, "--resume"), str(first), "remove this file")
    if (kind, damage) == ("aware", "bit"):
        first.unlink()
        assert lip(*compare, "--out", out, "--resume").code == 0


def forged(path: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> None:
    about, tensors = load_unit(path, limit=2**20)
    change(tensors)
    path.write_bytes(dump_unit(about, tensors))


def nearer(tensors: dict[str, torch.Tensor]) -> None:
    tensors["distance"] *= 0.5
    tensors["nearest"] *= 0.5


def elsewhere(tensors: dict[str, torch.Tensor]) -> None:
    tensors["points"] = (tensors["points"] - 0.001).clamp(0, 1)


def others(tensors: dict[str, torch.Tensor]) -> None:
    tensors["program"] = tensors["program"].where(tensors["program"] == 0, 3 - tensors["program"])


def out_of_box(tensors: dict[str, torch.Tensor]) -> None:
    tensors["points"] -= 2


@pytest.mark.parametrize("change", [nearer, elsewhere, others, out_of_box])
def test_points_are_judged_again(
    change: Callable[[dict[str, torch.Tensor]], None], lip: Lip, compare: list[str], out: Path
) -> None:
    """A file whose digest fits is not believed for that."""
    path = next(path for path in units(out) if "points" in load_unit(path, limit=2**20)[1])
    forged(path, change)
    one_line(lip(*compare, "--out", out, "--resume"), str(path), "it holds")


def test_a_radius_is_proved_again(
    lip: Lip, model_dir: Path, data_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of one block, drawn at random: here there is one alone."""
    command, out = words("certify", model_dir, data_file), tmp_path / "out"
    stopped(lip, command, out, monkeypatch, after=1, error=OSError(errno.ENOSPC, ""))
    (path,) = units(out)
    forged(path, lambda tensors: tensors.update(radius=tensors["radius"] * 2))
    one_line(lip(*command, "--out", out, "--resume"), str(path), "images 0 to 3")


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--eps", "0.05,0.25"], "eps"),
        (["--seed", "1"], "seed"),
        (["--n", "20"], "images"),
        (["--bound", "tight"], "bound"),
    ],
)
def test_other_settings_are_named(options: list[str], named: str, lip: Lip, compare: list[str], out: Path) -> None:
    one_line(lip(*compare, *options, "--out", out, "--resume"), "journal.json", f"{named} there and here")


def test_other_pixels_and_another_model_are_named(
    lip: Lip, compare: list[str], out: Path, data_file: Path, model_dir: Path
) -> None:
    arrays = dict(np.load(data_file))
    arrays["x"][9] ^= 1
    np.savez(data_file, **arrays)
    one_line(lip(*compare, "--out", out, "--resume"), "certificate-000002.unit", "pixels")
    shutil.rmtree(model_dir)
    lp.wrap(nn.Flatten().eval(), nn.Linear(16, 3).eval(), input_shape=(1, 4, 4)).save(model_dir)
    one_line(lip(*compare, "--out", out, "--resume"), "journal.json", "model there and here")


def test_a_unit_of_another_evaluation_is_named(
    lip: Lip, compare: list[str], out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped(lip, [*compare, "--seed", "1"], tmp_path / "other", monkeypatch, after=8, error=OSError(errno.ENOSPC, ""))
    for unit in units(tmp_path / "other"):
        shutil.copy(unit, out.with_name("out.partial"))
    one_line(lip(*compare, "--out", out, "--resume"), "certificate-", "other settings")


def test_resume_needs_a_place_of_its_own(lip: Lip, compare: list[str], tmp_path: Path) -> None:
    one_line(lip(*compare, "--resume"), "--out")
    (tmp_path / "new.partial").mkdir()
    (tmp_path / "new.partial" / "notes.txt").write_text("mine")
    one_line(lip(*compare, "--out", tmp_path / "new", "--resume"), "notes.txt")


def test_submit_goes_on_to_the_same_bundle(
    lip: Lip, model_dir: Path, data_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With every point that was found: those taken up are in it too."""
    _, _, *rest = words("compare", model_dir, data_file)
    command = ["submit", str(model_dir), "--board", "own", *rest]
    assert lip(*command, "--out", tmp_path / "reference").code == 0
    stopped(lip, command, tmp_path / "out", monkeypatch, after=10, error=OSError(errno.ENOSPC, ""))
    assert lip(*command, "--out", tmp_path / "out", "--resume").code == 0
    assert not (tmp_path / "out.partial").exists()
    one, other = (
        {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        for folder in (tmp_path / "reference", tmp_path / "out")
    )
    assert one.keys() == other.keys()
    differing = {str(name) for name, content in one.items() if content != other[name]}
    assert differing <= {"report/report.json", "attack.log", "bundle.json"}, differing  # seconds, and digests of them
