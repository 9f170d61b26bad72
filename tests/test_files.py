"""Output directories: what may be replaced, what never is, and that an interruption loses nothing."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from lip_plugin.errors import ConfigError
from lip_plugin.files import REPORT_FILES, complete_directory


def write(directory: Path, text: str, replaceable: frozenset[str] = frozenset()) -> None:
    with complete_directory(directory, replaceable=replaceable) as partial:
        (partial / "report.json").write_text(text)


def test_only_an_earlier_report_is_replaced(tmp_path: Path) -> None:
    out = tmp_path / "out"
    write(out, "first")
    with pytest.raises(ConfigError, match="--overwrite"):
        write(out, "second")
    write(out, "second", REPORT_FILES)
    assert (out / "report.json").read_text() == "second"
    (out / "thesis.tex").write_text("years")
    with pytest.raises(ConfigError, match=r"'thesis\.tex'"):
        write(out, "third", REPORT_FILES)
    assert (out / "thesis.tex").read_text() == "years"


def test_links_files_and_the_current_directory_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "target").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "target")
    (tmp_path / "dangling").symlink_to(tmp_path / "nothing")
    (tmp_path / "file").write_text("x")
    for name in ("link", "dangling", "file"):
        with pytest.raises(ConfigError, match="file or a link"):
            write(tmp_path / name, "x", REPORT_FILES)
    empty = tmp_path / "empty"
    empty.mkdir()
    monkeypatch.chdir(empty)
    with pytest.raises(ConfigError, match="current directory"):
        write(Path("."), "x", REPORT_FILES)
    with pytest.raises(ConfigError, match="cannot be used"):
        write(tmp_path / ("n" * 300), "x")


@pytest.mark.parametrize("moment", [1, 2, 3, 4])
def test_an_interruption_while_moving_puts_the_former_directory_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: int
) -> None:
    """Aside and back to ask for permission; aside, and the new one in."""
    out = tmp_path / "out"
    write(out, "first")
    replace, calls = os.replace, [0]

    def interrupted(*arguments: Any) -> None:
        calls[0] += 1
        if calls[0] == moment:
            raise KeyboardInterrupt
        replace(*arguments)

    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write(out, "second", REPORT_FILES)
    assert (out / "report.json").read_text() == "first"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
