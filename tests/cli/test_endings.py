"""How commands end: permission before the work, signals, memory that runs out, outputs that cannot be written."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lip_plugin.cli.ending import EXIT_DEFECT, EXIT_NO_MEMORY, line_and_code
from lip_plugin.cli.signals import SignalledError
from lip_plugin.errors import ConfigError, SoundnessError
from lip_plugin.memory import out_of_memory

Lip = Callable[..., Any]

posix = pytest.mark.skipif(os.name != "posix", reason="signals and devices of POSIX")


def started(code: str, *arguments: object, **settings: Any) -> subprocess.CompletedProcess[str]:
    """``lip ARGUMENTS`` in a process of its own, after ``code``."""
    program = f"{code}\nfrom lip_plugin.cli import main\nmain()"
    command = [sys.executable, "-c", program, *map(str, arguments)]
    settings = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **settings}
    return subprocess.run(command, text=True, check=False, timeout=120, **settings)


def heard() -> None:
    """In the child, before it begins: a test suite in the background, or under nohup, ignores signals."""
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        signal.signal(getattr(signal, name), signal.SIG_DFL)


def lines(ended: subprocess.CompletedProcess[str]) -> list[str]:
    return ended.stderr.splitlines()


# --- permission is asked before the work ---

COMMANDS: dict[str, tuple[str, ...]] = {
    "certify": ("certify", "--n", "1"),
    "compare": ("compare", "--n", "1"),
    "submit": ("submit", "LipPlugin2026_LiResNet_Demo", "--board", "own", "--n", "1"),
    "leaderboard": ("leaderboard",),
    "train": ("train", "fashion_mnist", "data_dir=/nowhere"),
}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("place", ["/proc/out", "/proc/self/deep/out", "file/out"])
def test_a_place_that_refuses_is_refused_before_anything_is_loaded(
    command: str, place: str, lip: Lip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if place.startswith("/proc") and not Path("/proc/self").exists():
        pytest.skip("no /proc here")
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("x")

    def loaded(*_: object, **__: object) -> None:
        raise AssertionError("work began")

    monkeypatch.setattr("lip_plugin.cli.task.select_model", loaded)
    monkeypatch.setattr("lip_plugin.train.run.load_splits", loaded)
    ended = lip(*COMMANDS[command], "--out", place)
    assert ended.code == 2 and ended.err.count("\n") == 1, ended.err
    assert place.split("/")[-1] in ended.err
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_nothing_is_left_beside_an_output_whose_work_failed(lip: Lip, tmp_path: Path) -> None:
    assert lip("certify", "no such model", "--out", tmp_path / "a/b/out").code == 2
    assert list(tmp_path.iterdir()) == []


# --- signals ---

_KILLED_AT_WORK = """
import os, signal
import lip_plugin.cli.task as task
def work(*_, **__):
    os.kill(os.getpid(), signal.{name})
    import time; time.sleep(30)
task.evaluate_images = work
"""


@posix
@pytest.mark.parametrize(
    ("name", "code", "words"),
    [("SIGTERM", 143, "stopped by SIGTERM"), ("SIGHUP", 129, "stopped by SIGHUP"), ("SIGINT", 130, "interrupted")],
)
def test_a_signal_at_work_is_one_line_and_leaves_nothing(name: str, code: int, words: str, tmp_path: Path) -> None:
    arguments = ("certify", "--n", "1", "--quiet", "--out", tmp_path / "new/out")
    ended = started(_KILLED_AT_WORK.format(name=name), *arguments, preexec_fn=heard)
    assert (ended.returncode, lines(ended), ended.stdout) == (code, [f"lip: {words}"], "")
    assert list(tmp_path.iterdir()) == []


@posix
@pytest.mark.parametrize("way", ["-m", "script"])
def test_ctrl_c_while_torch_is_imported_is_one_line(way: str, tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("import os, signal, time\nos.kill(os.getpid(), signal.SIGINT)\ntime.sleep(30)\n")
    program = ["-m", "lip_plugin"] if way == "-m" else ["-c", "from lip_plugin.cli import main; main()"]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    command = [sys.executable, *program, "certify", "--n", "1"]
    ended = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False, timeout=60, preexec_fn=heard
    )
    assert (ended.returncode, lines(ended), ended.stdout) == (130, ["lip: interrupted"], "")


def test_the_module_is_the_command() -> None:
    command = [sys.executable, "-m", "lip_plugin", "list"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert ended.returncode == 0 and "LipPlugin2026_LiResNet_Demo" in ended.stdout


# --- memory ---

LACKS: dict[str, BaseException] = {
    "numpy": MemoryError("Unable to allocate 8.00 TiB for an array"),
    "torch": RuntimeError(
        "[enforce fail at alloc_cpu.cpp:127] . DefaultCPUAllocator: can't allocate memory: you tried"
    ),
    "torch, another word": RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 8 bytes."),
    "cuda": RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    "import": ImportError("libtorch_cpu.so: failed to map segment from shared object"),
    "thread": RuntimeError("can't start new thread"),
    "system": OSError(12, "Cannot allocate memory"),
}


@pytest.mark.parametrize("name", LACKS)
def test_memory_that_runs_out_has_a_code_of_its_own(name: str, lip: Lip, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise LACKS[name]

    monkeypatch.setattr("lip_plugin.cli.task.evaluate_images", fail)
    ended = lip("certify", "--n", "1", "--quiet")
    assert (
        ended.code == EXIT_NO_MEMORY and ended.err.startswith("lip: not enough memory") and ended.err.count("\n") == 1
    )


def test_what_is_no_lack_of_memory_keeps_its_code() -> None:
    for error in (
        OSError(2, "out of memory", "allocate memory.txt"),
        ConfigError("out of memory"),
        ValueError("memory"),
    ):
        assert out_of_memory(error) is None
    wrapped = ConfigError("cannot")
    wrapped.__cause__ = MemoryError()
    assert out_of_memory(wrapped) is wrapped.__cause__
    essay = ImportError("\n\nPLEASE READ THIS: libopenblas.so: failed to map segment")  # as numpy writes one
    essay.__cause__ = ImportError("libopenblas.so: failed to map segment")
    assert out_of_memory(essay) is essay.__cause__
    assert line_and_code(SoundnessError("unsound")) == ("unsound", 1)
    assert line_and_code(ConfigError("bad")) == ("bad", 2)
    assert line_and_code(ValueError()) is None and line_and_code(SignalledError()) is None


@posix
def test_a_library_that_exits_by_itself_is_not_a_failed_check() -> None:
    """As OpenBLAS does, from C, with status 1."""
    code = "import lip_plugin.cli.task as t, ctypes\nt.evaluate_images = lambda *_, **__: ctypes.CDLL(None).exit(1)"
    ended = started(code, "certify", "--n", "1", "--quiet")
    assert ended.returncode == EXIT_NO_MEMORY and lines(ended)[-1].startswith("lip: a library has given up")


def test_a_defect_is_a_defect() -> None:
    code = (
        "import lip_plugin.cli.task as t\ndef work(*_, **__): raise ZeroDivisionError('ours')\nt.evaluate_images = work"
    )
    ended = started(code, "certify", "--n", "1", "--quiet")
    assert ended.returncode == EXIT_DEFECT and "ZeroDivisionError: ours" in ended.stderr


# --- outputs that cannot be written ---


@posix
@pytest.mark.parametrize("arguments", [("list",), ("info", "LipPlugin2026_LiResNet_Demo", "--json"), ("--help",)])
def test_a_pipe_that_nobody_reads_ends_quietly(arguments: tuple[str, ...]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    ended = started("", *arguments, stdout=writer)
    os.close(writer)
    assert (ended.returncode, ended.stderr) == (128 + signal.SIGPIPE, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
@pytest.mark.parametrize("arguments", [("list",), ("info", "LipPlugin2026_LiResNet_Demo"), ("--version",)])
def test_a_full_device_is_one_line(arguments: tuple[str, ...]) -> None:
    with Path("/dev/full").open("w") as full:
        ended = started("", *arguments, stdout=full)
    assert ended.returncode == 2 and len(lines(ended)) == 1 and "stdout" in ended.stderr, ended.stderr


@posix
def test_a_closed_stdout_is_not_success() -> None:
    ended = started("", "list", stdout=None, preexec_fn=lambda: os.close(1))
    assert ended.returncode == 2 and len(lines(ended)) == 1


@posix
def test_a_closed_stderr_keeps_the_code() -> None:
    assert started("", "info", "nobody", stderr=None, preexec_fn=lambda: os.close(2)).returncode == 2


LIMITED = """
from lip_plugin.cli.limits import limited
with limited({seconds}, {gigabytes}, lambda what: f"too much: {{what}}"):
    {block}
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is looked at on Linux")
@pytest.mark.parametrize(
    ("seconds", "gigabytes", "block", "said"),
    [
        (0.1, 8, "import time; time.sleep(60)", "more than 0.1 s"),
        (6, 8, "import torch; torch.linalg.svd(torch.rand(6000, 6000).double())", "more than 6 s"),
        (50, 0.25, "held = [b'x' * 2**24 for _ in range(400)]", "more than 0.25 GiB of memory"),
    ],
    ids=["asleep", "in one call of LAPACK", "in memory"],
)
def test_a_limit_ends_the_process_in_one_line(seconds: float, gigabytes: float, block: str, said: str) -> None:
    code = LIMITED.format(seconds=seconds, gigabytes=gigabytes, block=block)
    started = time.monotonic()
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=50)
    assert (ended.returncode, ended.stdout, ended.stderr) == (2, "", f"lip: too much: {said}\n")
    assert time.monotonic() - started < seconds + 10


@posix
def test_a_limit_ends_the_process_where_nobody_reads() -> None:
    """A pipe that is full holds stderr, and with it whoever would say why."""
    fill = "import sys; [sys.stderr.write('x' * 10_000) for _ in range(100)]"
    reader, writer = os.pipe()
    code = LIMITED.format(seconds=0.5, gigabytes=8, block=fill)
    ended = subprocess.run([sys.executable, "-c", code], stderr=writer, timeout=50)
    for end in (reader, writer):
        os.close(end)
    assert ended.returncode == 2
