"""Progress on stderr: a bar on a terminal, a line a minute elsewhere, nothing with `--quiet`."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from threading import Event, Thread
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress

Advance = Callable[[int, str], None]
"""Called with (further units done, a short note)."""

EVERY = 60.0
"""Seconds from line to line."""


@contextmanager
def progress_bar(
    description: str, *, total: int | None, unit: str = "images", enabled: bool = True
) -> Generator[Advance]:
    """A bar with throughput and time left. The yielded function advances it.

    Where stderr is no terminal the same is said once a minute.
    """
    bar = _bar(unit) if enabled else None
    if bar is not None:
        with bar:
            task = bar.add_task(description, total=total, note="")
            yield lambda count, note: bar.update(task, advance=count, note=note)
    elif enabled:
        with ProgressLines(description, total, unit).told_every(EVERY) as told:
            yield told.advance
    else:
        yield lambda count, note: None


class ProgressLines:
    """How far it is, in words. The rate is that of the last minute in which something was done."""

    def __init__(self, description: str, total: int | None, unit: str) -> None:
        self._description, self._total, self._unit = description, total, unit
        self._done, self._note, self._rate = 0, "", 0.0
        self._told, self._since = 0, time.monotonic()

    def advance(self, count: int, note: str) -> None:
        self._done, self._note = self._done + count, note

    def line(self) -> str:
        """``attack, autoattack:apgd-t: 512 of 10,000 images, 3.2 images/s, 49 min left``."""
        now, done = time.monotonic(), self._done
        is_further = done > self._told
        if is_further:
            self._rate = (done - self._told) / max(now - self._since, 1e-9)
            self._told, self._since = done, now
        what = f"{self._description}{f', {self._note}' if self._note else ''}"
        of = "" if self._total is None else f" of {self._total:,}"
        told = f"{what}: {done:,}{of} {self._unit}"
        if self._rate and not is_further:
            return f"{told}, none finished for {_duration(now - self._since)}"
        if self._rate:
            told += f", {self._rate:.3g} {self._unit}/s"
            told += "" if self._total is None else f", {_duration((self._total - done) / self._rate)} left"
        return told

    @contextmanager
    def told_every(self, seconds: float) -> Generator[ProgressLines]:
        """A thread of its own: a unit may take longer than a minute."""
        over = Event()

        def tell() -> None:
            while not over.wait(seconds):
                with suppress(OSError, ValueError):  # nobody hears it, or stderr is closed
                    print(self.line(), file=sys.stderr, flush=True)

        thread = Thread(target=tell, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            over.set()
            thread.join()


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes / 60:.1f} h"


def _bar(unit: str) -> Progress | None:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        ProgressColumn,
        Task,
        TextColumn,
        TimeRemainingColumn,
    )
    from rich.text import Text

    class Throughput(ProgressColumn):
        def render(self, task: Task) -> Text:
            speed = task.finished_speed or task.speed
            return Text(f"{speed:.3g} {unit}/s" if speed else f"- {unit}/s")

    console = Console(stderr=True)
    if not console.is_terminal:
        return None
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), Throughput(), TimeRemainingColumn())
    return Progress(*columns, TextColumn("{task.fields[note]}"), console=console, transient=True)
