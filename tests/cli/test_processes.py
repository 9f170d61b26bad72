"""`lip certify` and `lip compare` in two processes, as torchrun starts them: one voice, one report, one exit code."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lip_plugin.cli import run

COMMAND = "import sys; from lip_plugin.cli import main; main()"
# The second process cannot read the second block, which is its own.
TORN = """
import os
from lip_plugin.data import ImageSet
from lip_plugin.errors import DataError

whole = ImageSet.blocks

def torn(self, size, dtype, *, first=0, step=1):
    for x, y in whole(self, size, dtype, first=first, step=step):
        if first == 1:
            raise DataError("cannot read picture 9")
        yield x, y

ImageSet.blocks = torn
"""
# Radii that the attack contradicts, in every process alike.
UNSOUND = """
import dataclasses, importlib
module = importlib.import_module("lip_plugin.evaluate.evaluation")
honest = module.certify_together

def overstated(*arguments, **settings):
    certificate = honest(*arguments, **settings)
    return dataclasses.replace(certificate, radius=certificate.radius * 1.01)

module.certify_together = overstated
"""


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def lip(*arguments: object, world: int, before: str = "") -> list[subprocess.CompletedProcess[str]]:
    """What each process returned; within two minutes, or the test fails."""
    shared = {**os.environ, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": str(world)}
    command = [sys.executable, "-c", before + COMMAND, *map(str, arguments)]
    processes = [
        subprocess.Popen(
            command,
            env={**shared, "RANK": str(rank), "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(world)
    ]
    try:
        outcomes = [process.communicate(timeout=120) for process in processes]
    finally:
        for process in processes:
            process.kill()
    return [
        subprocess.CompletedProcess(command, process.returncode, out, err)
        for process, (out, err) in zip(processes, outcomes, strict=True)
    ]


def said(outcome: subprocess.CompletedProcess[str]) -> list[str]:
    """Our lines on stderr; torch.distributed may add remarks about the machine's network."""
    return [line for line in outcome.stderr.splitlines() if line.startswith("lip:") or "Traceback" in line]


@pytest.mark.parametrize(
    "options", [["certify"], ["compare", "--attacks", "autoattack:square?n_queries=50", "--no-skip-certified"]]
)
def test_two_processes_write_the_report_of_one(
    model_dir: Path, data_file: Path, tmp_path: Path, options: list[str]
) -> None:
    shared: list[Any] = [*options, model_dir, "--data", data_file, "--eps", "0.05,0.3", "--batch-size", "5"]
    (alone,) = lip(*shared, "--out", tmp_path / "one", "--json", world=1)
    leader, other = lip(*shared, "--out", tmp_path / "two", "--json", world=2)
    assert (alone.returncode, leader.returncode, other.returncode) == (0, 0, 0), leader.stderr
    assert (other.stdout, said(other), said(leader)) == ("", [], [])
    assert json.loads(leader.stdout) == json.loads((tmp_path / "two" / "report.json").read_text())
    assert (tmp_path / "two" / "points.csv").read_bytes() == (tmp_path / "one" / "points.csv").read_bytes()
    one, two = (json.loads((tmp_path / name / "report.json").read_text()) for name in ("one", "two"))
    assert one.pop("cost")["attack_forwards"] == two.pop("cost")["attack_forwards"]
    assert one == two


def test_an_unreadable_picture_of_one_process_ends_both(model_dir: Path, data_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "report"
    leader, other = lip(
        "certify", model_dir, "--data", data_file, "--batch-size", "5", "--out", out, world=2, before=TORN
    )
    assert (leader.returncode, leader.stdout, said(leader)) == (2, "", ["lip: cannot read picture 9"])
    assert (other.returncode, other.stdout, said(other)) == (2, "", [])
    assert not out.exists()


def test_two_processes_write_the_bundle_of_one(model_dir: Path, data_file: Path, tmp_path: Path) -> None:
    shared: list[Any] = ["submit", model_dir, "--board", "own", "--data", data_file, "--eps", "0.05,0.3"]
    shared += ["--attacks", "autoattack:apgd-ce", "--audit", "0", "--batch-size", "5"]
    (alone,) = lip(*shared, "--out", tmp_path / "one", world=1)
    leader, other = lip(*shared, "--out", tmp_path / "two", world=2)
    assert (alone.returncode, leader.returncode, other.returncode) == (0, 0, 0), leader.stderr
    assert (other.stdout, said(other), said(leader)) == ("", [], [])
    one, two = (json.loads((tmp_path / name / "bundle.json").read_text()) for name in ("one", "two"))
    told = {"attack.log", "report/report.json"}  # the seconds
    assert one["files"].keys() == two["files"].keys() > told
    assert {name for name in one["files"] if one["files"][name] != two["files"][name]} <= told
    logs = [(tmp_path / name / "attack.log").read_text().partition(" in all: ") for name in ("one", "two")]
    assert logs[0][0] == logs[1][0]


def test_a_refusing_board_ends_both_with_1_and_one_line(model_dir: Path, data_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    leader, other = lip(
        "submit", model_dir, "--board", "robustbench", "--data", data_file, "--out", out, world=2
    )  # fmt: skip
    assert (leader.returncode, other.returncode) == (1, 1)
    (line,) = said(leader)
    assert line.startswith("lip: board robustbench would refuse this: ")
    assert (leader.stdout, other.stdout, said(other)) == ("", "", [])
    assert not out.exists()


def test_an_unsound_certificate_ends_both_with_1_after_the_report(
    model_dir: Path, data_file: Path, tmp_path: Path
) -> None:
    out = tmp_path / "report"
    attacks = "autoattack:apgd-ce,autoattack:fab-t"
    leader, other = lip(
        "compare", model_dir, "--data", data_file, "--eps", "0.5", "--attacks", attacks, "--batch-size", "5",
        "--out", out, world=2, before=UNSOUND,
    )  # fmt: skip
    assert (leader.returncode, other.returncode) == (1, 1)
    (line,) = said(leader)
    assert line.startswith("lip: unsound certificate: image ")
    assert (other.stdout, said(other)) == ("", [])
    assert json.loads((out / "report.json").read_text())["status"] == "failed"


def test_one_process_goes_on_where_two_met_a_full_disk(model_dir: Path, data_file: Path, tmp_path: Path) -> None:
    """Whose the blocks are does not matter to the journal."""
    full = """
import os, lip_plugin.evaluate.journal as journal
write, written = journal.write_atomically, []

def limited(path, content):
    if os.environ["RANK"] == "1" and len(written) == 3:
        raise OSError(28, "No space left on device")
    written.append(path)
    write(path, content)

journal.write_atomically = limited
"""
    command = ["compare", model_dir, "--attacks", "autoattack:square?n_queries=50", "--audit", "0", "--quiet"]
    command += ["--data", data_file, "--eps", "0.05,0.3", "--batch-size", "4"]
    leader, other = lip(*command, "--out", tmp_path / "out", world=2, before=full)
    (line,) = said(leader)
    assert (leader.returncode, other.returncode, said(other)) == (2, 2, []) and "No space left" in line
    kept = {path.name for path in (tmp_path / "out.partial").glob("*.unit")}
    assert len([name for name in kept if name.startswith("certificate")]) == 6 and len(kept) > 6
    assert run([*map(str, command), "--out", str(tmp_path / "out"), "--resume"]) == 0
    assert run([*map(str, command), "--out", str(tmp_path / "reference")]) == 0
    one, two = (json.loads((tmp_path / name / "report.json").read_text()) for name in ("reference", "out"))
    assert one.pop("cost")["attack_forwards"] == two.pop("cost")["attack_forwards"]
    assert one == two
    assert (tmp_path / "out" / "points.csv").read_bytes() == (tmp_path / "reference" / "points.csv").read_bytes()
