"""Without a terminal a line a minute says how far a long evaluation is."""

from __future__ import annotations

import time

import pytest

import lip_plugin.progress as module
from lip_plugin.progress import ProgressLines, progress_bar


def test_lines_say_stage_rate_and_time_left(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "EVERY", 0.05)
    with progress_bar("attack", total=36_000) as advance:
        time.sleep(0.02)
        advance(1_000, "square")
        while not capsys.readouterr().err.startswith("attack, square: 1,000 of 36,000 images, "):
            time.sleep(0.01)
    time.sleep(0.2)
    assert capsys.readouterr().err.count("\n") <= 1  # one more before the end, none after it


def test_the_rate_is_that_of_the_last_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    """Units taken up from a journal come all at once and must not promise an early end for ever."""
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    lines = ProgressLines("certify", 10_000, "images")
    assert lines.line() == "certify: 0 of 10,000 images"
    now[0] = 60.0
    lines.advance(6_000, "")
    assert lines.line() == "certify: 6,000 of 10,000 images, 100 images/s, 1 min left"
    now[0] = 120.0
    lines.advance(30, "")
    assert lines.line() == "certify: 6,030 of 10,000 images, 0.5 images/s, 2.2 h left"
    now[0] = 300.0  # a unit that takes minutes: what was left by the rate of others is not left for ever
    assert lines.line() == "certify: 6,030 of 10,000 images, none finished for 3 min"


def test_nothing_is_said_where_nobody_asks(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "EVERY", 0.01)
    with progress_bar("train", total=1, enabled=False) as advance:
        advance(1, "")
        time.sleep(0.05)
    assert capsys.readouterr().err == ""
