"""Scratch folders: those of killed runs go, those of runs that may be alive stay, and nothing set aside is lost."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lip_plugin.errors import ConfigError
from lip_plugin.files import REPORT_FILES, complete_directory, output_directory
from lip_plugin.scratch import scratch_folder, set_aside, sweep

pytestmark = pytest.mark.skipif(os.name != "posix", reason="locks of POSIX")

_KILLED = """
import os, signal, sys
from pathlib import Path
from lip_plugin.scratch import scratch_folder, set_aside
with scratch_folder(Path(sys.argv[1])) as scratch:
    if len(sys.argv) > 2:
        set_aside(scratch, Path(sys.argv[2]))
    os.kill(os.getpid(), signal.SIGKILL)
"""
_ALIVE = """
import sys
from pathlib import Path
from lip_plugin.scratch import scratch_folder
with scratch_folder(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def killed(*arguments: Path) -> None:
    ended = subprocess.run([sys.executable, "-c", _KILLED, *map(str, arguments)], check=False)
    assert ended.returncode == -9


def test_the_next_run_removes_what_a_killed_one_left(tmp_path: Path) -> None:
    killed(tmp_path)
    assert len(names(tmp_path)) == 1
    with complete_directory(tmp_path / "out") as folder:
        (folder / "report.json").write_text("new")
    assert names(tmp_path) == ["out"]


def test_a_directory_that_a_killed_run_had_set_aside_comes_back(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/report.json").write_text("hours")
    killed(tmp_path, tmp_path / "out")
    assert "out" not in names(tmp_path)
    with pytest.raises(KeyboardInterrupt), complete_directory(tmp_path / "out", replaceable=REPORT_FILES):
        assert (tmp_path / "out/report.json").read_text() == "hours"
        raise KeyboardInterrupt
    assert names(tmp_path) == ["out"] and (tmp_path / "out/report.json").read_text() == "hours"


def test_a_run_that_is_alive_keeps_its_scratch(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _ALIVE, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None and other.stdout.readline() == "held\n"
        sweep(tmp_path)
        assert len(names(tmp_path)) == 1
        other.communicate("")
    assert names(tmp_path) == []


def test_another_hosts_scratch_stays_until_it_is_old(tmp_path: Path) -> None:
    killed(tmp_path)
    (scratch,) = tmp_path.iterdir()
    (scratch / "lock").write_text("another host")
    sweep(tmp_path)
    assert scratch.exists()
    week_ago = time.time() - 8 * 24 * 3600
    os.utime(scratch, (week_ago, week_ago))
    sweep(tmp_path)
    assert not scratch.exists()


def test_scratch_that_no_host_has_signed_stays_until_it_is_old(tmp_path: Path) -> None:
    """Another run may be between making it and holding its lock."""
    scratch = tmp_path / ".lip-scratch-0123456789abcdef"
    for make in (lambda: None, (scratch / "lock").touch):
        scratch.mkdir()
        make()
        sweep(tmp_path)
        assert scratch.exists()
        os.utime(scratch, (0, 0))
        sweep(tmp_path)
        assert not scratch.exists()


def test_nothing_else_is_swept(tmp_path: Path) -> None:
    for name in (".lip-scratch-notes", ".lip-queue", "lip-scratch-0123456789abcdef"):
        (tmp_path / name).mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / ".lip-scratch-0123456789abcdef").symlink_to(tmp_path / "elsewhere")
    before = names(tmp_path)
    sweep(tmp_path)
    assert names(tmp_path) == before


def test_parents_that_were_made_go_again_unless_they_are_used(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), scratch_folder(tmp_path / "a/b"):
        raise KeyboardInterrupt
    assert names(tmp_path) == []
    with scratch_folder(tmp_path / "a/b"):
        (tmp_path / "a/kept").write_text("x")
    assert names(tmp_path / "a") == ["kept"]


def test_what_is_set_aside_does_not_take_a_new_ones_place(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with scratch_folder(tmp_path) as scratch:
        set_aside(scratch, tmp_path / "out")
        (tmp_path / "out").write_text("new")
    assert (tmp_path / "out").read_text() == "new"


def test_a_directory_that_took_the_place_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with output_directory(out) as output:
        out.mkdir()
        (out / "theirs").write_text("x")
        with pytest.raises(ConfigError, match="not empty"), output.filled():
            pass
    assert names(out) == ["theirs"] and names(tmp_path) == ["out"]


def test_a_directory_that_cannot_be_moved_is_refused_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mount point, for one: it can be written, and yet no other directory can take its name."""
    out = tmp_path / "out"
    out.mkdir()

    def busy(*paths: Path) -> None:
        raise OSError(16, "Device or resource busy")

    monkeypatch.setattr(os, "replace", busy)
    with (
        pytest.raises(ConfigError, match="is not writable: Device or resource busy; choose another one"),
        output_directory(out, replaceable=REPORT_FILES),
    ):
        pytest.fail("there is no room")
    assert names(tmp_path) == ["out"]
