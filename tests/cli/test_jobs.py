"""`--jobs`: one report, one voice and one end, however many processes share the work."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from .evaluations import go_on, without_seconds, words

Lip = Callable[..., Any]

pytestmark = pytest.mark.skipif(os.name != "posix", reason="further processes are for POSIX")

COMMAND = "from lip_plugin.cli import main; main()"
# What each process does in the place of its proofs; the further one says where it is.
AT_WORK = """
import importlib, os, signal, sys, time
further = "LIP_PLUGIN_JOB" in os.environ

def work(*_, **__):
    if further:
        with open(os.environ["TOLD"] + "~", "w") as file:
            file.write(str(os.getpid()))
        os.rename(file.name, os.environ["TOLD"])
        {further}
    while not os.path.exists(os.environ["TOLD"]):
        time.sleep(0.01)
    {first}

importlib.import_module("lip_plugin.evaluate.evaluation").certify_together = work
"""


def few(model_dir: Path, data_file: Path) -> tuple[object, ...]:
    """Five work units."""
    return model_dir, "--data", data_file, "--batch-size", "5"


@contextmanager
def at_work(further: str, first: str, tmp_path: Path, *arguments: object) -> Generator[subprocess.Popen[str]]:
    """``lip certify`` in two processes, in a group of their own."""
    code = AT_WORK.format(further=further, first=first) + COMMAND
    command = [sys.executable, "-c", code, "certify", "--jobs", "2", "--out", tmp_path / "out", *arguments]
    environment = {**os.environ, "TOLD": str(tmp_path / "told"), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        list(map(str, command)), env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True, preexec_fn=heard,
    )  # fmt: skip
    with process:
        try:
            yield process
        finally:
            process.kill()


def heard() -> None:
    """A test suite in the background ignores signals."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def is_gone(process: int) -> bool:
    """Within five seconds; a zombie is, whoever does not look at it."""
    for _ in range(100):
        try:
            state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return True
        if state in "ZX":
            return True
        time.sleep(0.05)
    return False


@pytest.mark.parametrize(
    "options",
    [["certify", "--bound", "tight"], ["compare", "--attacks", "autoattack:square?n_queries=50", "--audit", "0"]],
)
def test_two_processes_write_the_report_of_one(
    model_dir: Path, data_file: Path, tmp_path: Path, options: list[str], lip: Lip
) -> None:
    shared: list[Any] = [*options, *few(model_dir, data_file), "--eps", "0.05,0.3", "--json"]
    alone = lip(*shared, "--jobs", "1", "--out", tmp_path / "one")
    command = [sys.executable, "-c", COMMAND, *map(str, shared), "--jobs", "2", "--out", str(tmp_path / "two")]
    both = subprocess.run(
        command, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, check=False, timeout=120
    )
    assert (alone.code, both.returncode, both.stderr) == (0, 0, b"")
    one, two = (tmp_path / name / "report.json" for name in ("one", "two"))
    assert without_seconds(two.read_bytes()) == without_seconds(one.read_bytes())
    assert without_seconds(both.stdout) == without_seconds(alone.out.encode())
    assert (two.parent / "points.csv").read_bytes() == (one.parent / "points.csv").read_bytes()


def test_a_killed_process_ends_the_command_at_once(model_dir: Path, data_file: Path, tmp_path: Path) -> None:
    kill = "os.kill(os.getpid(), signal.SIGKILL)"
    with at_work(kill, "time.sleep(60)", tmp_path, *few(model_dir, data_file)) as process:
        out, err = process.communicate(timeout=50)
    assert (process.returncode, out) == (128 + signal.SIGKILL, "")
    (line,) = err.splitlines()
    assert line.startswith("lip: process 2 was ended by SIGKILL")
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="/proc tells which process is the further one")
def test_what_was_finished_is_kept_where_one_process_is_killed(
    lip: Lip, model_dir: Path, data_file: Path, tmp_path: Path
) -> None:
    told = [*words("audited", model_dir, data_file), "--audit", "all"]
    assert lip(*told, "--jobs", "1", "--out", tmp_path / "reference").code == 0
    out, partial = tmp_path / "out", tmp_path / "out.partial"
    command = [sys.executable, "-c", COMMAND, *told, "--jobs", "2", "--out", str(out)]
    with subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, stderr=subprocess.PIPE) as process:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        while len(list(partial.glob("*.unit"))) < 7 and process.poll() is None:
            time.sleep(0.002)
        os.kill(int(children.read_text().split()[0]), signal.SIGKILL)
        _, err = process.communicate(timeout=50)
    assert process.returncode == 128 + signal.SIGKILL
    (line,) = err.decode().splitlines()
    assert line.startswith("lip: process 2 was ended by SIGKILL")
    assert len(list(partial.glob("*.unit"))) >= 7 and not out.exists()
    go_on(lip, told, out, tmp_path / "reference")


def test_ctrl_c_ends_all_while_one_waits_for_another(model_dir: Path, data_file: Path, tmp_path: Path) -> None:
    with at_work("time.sleep(60)", "_[1].ranks.gather(None)", tmp_path, *few(model_dir, data_file)) as process:
        while not (tmp_path / "told").exists() and process.poll() is None:
            time.sleep(0.05)
        time.sleep(0.5)  # by now the first one waits
        os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=50)
    assert (process.returncode, out, err) == (130, "", "lip: interrupted\n")
    assert is_gone(int((tmp_path / "told").read_text()))
    assert not (tmp_path / "out").exists()


# The first process is killed while it imports torch, as soon as the further one has begun.
AT_ONCE = """
import os, signal, threading, time
if "LIP_PLUGIN_JOB" in os.environ:
    with open(os.environ["TOLD"] + "~", "w") as file:
        file.write(str(os.getpid()))
    os.rename(file.name, os.environ["TOLD"])
else:
    def kill():
        while not os.path.exists(os.environ["TOLD"]):
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGKILL)
    threading.Thread(target=kill).start()
"""


def test_no_process_outlives_a_killed_command(tmp_path: Path) -> None:
    environment = {**os.environ, "TOLD": str(tmp_path / "told")}
    command = [sys.executable, "-c", AT_ONCE + COMMAND, "certify", "--jobs", "2"]
    assert subprocess.run(command, env=environment, check=False, timeout=50).returncode == -signal.SIGKILL
    assert is_gone(int((tmp_path / "told").read_text()))


@pytest.mark.parametrize(
    ("options", "variable", "words"),
    [
        ([], {"WORLD_SIZE": "2"}, "torchrun"),
        (["--device", "cuda"], {}, "--device cuda"),
        ([], {}, "only the command lip"),  # it is no process of its own here
    ],
)
def test_jobs_are_refused_where_there_can_be_none(
    options: list[str], variable: dict[str, str], words: str, lip: Lip, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variable.items():
        monkeypatch.setenv(name, value)
    ended = lip("certify", "--n", "1", "--jobs", "2", *options)
    assert (ended.code, ended.out, ended.err.count("\n")) == (2, "", 1)
    assert ended.err.startswith("lip: --jobs 2: ") and words in ended.err
