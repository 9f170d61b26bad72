"""Killed at random moments, however often: ``LIP_KILLS=30 pytest -s tests/cli/test_random_moments.py``."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from .evaluations import COMMANDS, Lip, ended, go_on, words

MOMENTS = int(os.environ.get("LIP_KILLS", "1"))

pytestmark = pytest.mark.skipif(os.name != "posix", reason="forks processes that are killed")


def in_two_processes(command: list[str], during: Callable[[int], None]) -> int:
    """As `ended`, but for a process that has everything to import, and starts another one."""
    code = "from lip_plugin.cli import main; main()"
    started = [sys.executable, "-c", code, *command, "--jobs", "2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(started, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        during(process.pid)
    return process.returncode


@pytest.mark.parametrize(
    ("name", "run"),
    [*((name, ended) for name in COMMANDS), ("audited", in_two_processes), ("submit", in_two_processes)],
)
def test_killed_at_random_moments(
    name: str,
    run: Callable[[list[str], Callable[[int], None]], int],
    lip: Lip,
    model_dir: Path,
    data_file: Path,
    tmp_path: Path,
) -> None:
    """By SIGKILL or SIGTERM; what goes on, or has ended before, is the report of a run that nobody stopped."""
    command, drawn = words(name, model_dir, data_file), random.Random(name)
    reference, whole = tmp_path / "reference", [0.0]

    def timed(process: int) -> None:
        whole[0] = -time.perf_counter()

    assert run([*command, "--out", str(reference)], timed) == 0
    whole[0] += time.perf_counter()
    stopped = taken_up = 0
    for moment in range(MOMENTS):
        out, number = tmp_path / f"out{moment}", drawn.choice([signal.SIGKILL, signal.SIGTERM])

        def during(process: int, number: int = number) -> None:
            time.sleep(drawn.uniform(0, whole[0]))
            os.kill(process, number)

        code = run([*command, "--out", str(out)], during)
        stopped += not out.exists()
        taken_up += any(out.with_name(f"{out.name}.partial").glob("*.unit"))
        assert code in (-number, 128 + number) or out.exists(), code
        go_on(lip, command, out, reference)
    print(f"{name}: {MOMENTS} moments, {stopped} before the end, {taken_up} with finished units, all reports the same")
