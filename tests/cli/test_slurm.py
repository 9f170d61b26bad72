"""`--slurm N`: what it submits really runs, one job after the other, and its report is that of one run."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Lip = Callable[..., Any]

SBATCH = """#!/bin/sh
id=$((100 + $(ls {queue} | wc -l)))
cp "$1" {queue}/$id
echo "Submitted batch job $id"
"""
SRUN = """#!/bin/sh
shift 5 # --unbuffered --output FILE --error FILE
exec "$@"
"""
NODE = dict(
    SLURM_NTASKS="1",
    SLURM_JOB_NUM_NODES="1",
    SLURM_NODEID="0",
    SLURM_PROCID="0",
    SLURM_LOCALID="0",
    OMP_NUM_THREADS="1",
)


@pytest.fixture
def queue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Of a cluster whose sbatch keeps scripts here: `run_job` runs them."""
    programs, folder = tmp_path / "bin", tmp_path / "queue"
    programs.mkdir()
    folder.mkdir()
    for name, text in (("sbatch", SBATCH.format(queue=folder)), ("srun", SRUN)):
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    return folder


def flags(script: Path) -> dict[str, str]:
    return dict(re.findall(r"^#SBATCH --([\w-]+)=(.*)$", script.read_text(), re.MULTILINE))


def run_job(script: Path, environment: dict[str, str]) -> int:
    variables = {**os.environ, **NODE, "SLURM_JOB_ID": script.name, **environment}
    return subprocess.run(["bash", script], env=variables, capture_output=True).returncode


def run_array(script: Path) -> list[int]:
    first, last = map(int, flags(script)["array"].partition("%")[0].split("-"))
    ids = {"SLURM_ARRAY_JOB_ID": script.name}
    return [run_job(script, {**ids, "SLURM_ARRAY_TASK_ID": str(index)}) for index in range(first, last + 1)]


def words(model_dir: Path, data_file: Path) -> list[object]:
    """Six blocks of four images."""
    attacks = ["--attacks", "autoattack:apgd-ce?n_iter=5", "--audit", "1"]
    return ["compare", model_dir, "--data", f"npz:{data_file}", "--batch-size", "4", "--eps", "0.05,0.3", *attacks]


def without_seconds(report: Path) -> str:
    told, count = re.subn(r'("(?:certify|attack)_seconds": )[0-9.e-]+', r"\1", report.read_text())
    assert count == 2
    return told


def test_the_jobs_make_the_report_of_one_run(
    lip: Lip, model_dir: Path, data_file: Path, queue: Path, tmp_path: Path
) -> None:
    command = words(model_dir, data_file)
    assert lip(*command, "--quiet", "--out", tmp_path / "reference").code == 0
    out = tmp_path / "out"
    options = ["--slurm", "2", "--slurm-options", "partition=debug,time=30,gpus_per_node=1", "--no-gallery"]
    told = lip(*command, *options, "--quiet", "--out", out)
    assert (told.code, told.err) == (0, ""), told
    array, merge = sorted(queue.iterdir())
    assert flags(array)["array"] == "0-1%2" and flags(merge)["dependency"] == f"afterok:{array.name}"
    assert flags(merge)["kill-on-invalid-dep"] == "yes"
    for script in (array, merge):
        assert (flags(script)["partition"], flags(script)["time"], flags(script)["gpus-per-node"]) == (
            "debug",
            "30",
            "1",
        )
    assert f"squeue -j {array.name},{merge.name}" in told.out
    assert f"lip merge {out} {out}.slurm/part1 {out}.slurm/part2 --quiet --no-gallery --resume" in told.out
    assert run_array(array) == [0, 0]
    assert run_job(merge, {}) == 0
    assert without_seconds(out / "report.json") == without_seconds(tmp_path / "reference" / "report.json")
    assert (out / "points.csv").read_bytes() == (tmp_path / "reference" / "points.csv").read_bytes()
    assert json.loads((tmp_path / "out.slurm" / "part2" / "part.json").read_text())["asked"]["attacks"] is not None


def test_a_part_that_fails_ends_its_job_and_is_submitted_again(
    lip: Lip, model_dir: Path, data_file: Path, queue: Path, tmp_path: Path
) -> None:
    command = ["certify", model_dir, "--data", f"npz:{data_file}", "--batch-size", "4", "--eps", "0.1", "--slurm", "2"]
    assert lip(*command, "--out", tmp_path / "out").code == 0
    moved = data_file.rename(tmp_path / "elsewhere.npz")
    assert run_job(queue / "100", {"SLURM_ARRAY_JOB_ID": "100", "SLURM_ARRAY_TASK_ID": "0"}) == 2
    moved.rename(data_file)
    again = lip(*command, "--out", tmp_path / "out")
    assert again.code == 2 and "go on with --resume" in again.err
    assert lip(*command, "--out", tmp_path / "out", "--resume").code == 0
    assert sorted(path.name for path in queue.iterdir()) == ["100", "101", "102", "103"]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ([], "give --out"),
        (["--out", "/"], "exists and is not empty"),
        (["--out", "."], "exists and is not empty"),
        (["--out", "OUT", "--json"], "no --json"),
        (["--out", "OUT", "--part", "1/2"], "no --part"),
        (["--out", "OUT", "--slurm-options", "partitoin=debug"], "Did you mean 'partition'"),
        (["--out", "OUT", "--slurm-options", "nodes=2"], "nodes: no option"),
        (["--out", "OUT", "--slurm-options", "partition"], "is not KEY=VALUE"),
        (["--out", "OUT", "--slurm-options", "time=1-00:00:00"], "not a time in minutes"),
        (["--out", "OUT", "--slurm", "7"], "there are 6 blocks"),
        (["--out", "OUT", "--slurm", "1"], "1 is not in the range x>=2"),
        (["--out", "OUT", "--attacks", "no_such"], "no_such"),
    ],
)
def test_what_cannot_be_submitted_is_refused_in_one_line(
    lip: Lip, model_dir: Path, data_file: Path, queue: Path, tmp_path: Path, options: list[str], told: str
) -> None:
    typed = [str(tmp_path / "out") if option == "OUT" else option for option in options]
    outcome = lip(*words(model_dir, data_file), "--slurm", "2", *typed)
    assert (outcome.code, outcome.out) == (2, ""), outcome
    assert told in outcome.err and len(outcome.err.splitlines()) == 1
    assert not list(queue.iterdir()) and not (tmp_path / "out.slurm").exists()


def test_options_of_jobs_need_jobs(lip: Lip, model_dir: Path) -> None:
    outcome = lip("certify", model_dir, "--slurm-options", "time=5")
    assert outcome.code == 2 and "give --slurm N too" in outcome.err


def test_without_sbatch_or_where_it_refuses_there_is_no_job(
    lip: Lip, model_dir: Path, data_file: Path, queue: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = [*words(model_dir, data_file), "--slurm", "2", "--out", tmp_path / "out"]
    (tmp_path / "bin" / "sbatch").write_text("#!/bin/sh\necho 'error: invalid partition' >&2\nexit 1\n")
    outcome = lip(*command)
    assert (outcome.code, outcome.err) == (2, "lip: sbatch takes no job: error: invalid partition\n")
    assert not (tmp_path / "out.slurm").exists()
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    outcome = lip(*command)
    assert outcome.code == 2 and "sbatch is not on PATH" in outcome.err


def test_without_submitit_the_extra_is_named(
    lip: Lip, model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "submitit.slurm.slurm", None)
    outcome = lip("certify", model_dir, "--slurm", "2", "--out", tmp_path / "out")
    assert outcome.code == 2 and "lip-plugin[slurm]" in outcome.err
