"""Progress bars on stderr: shown on a terminal, silent elsewhere and with `--quiet`."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress

Advance = Callable[[int, str], None]
"""Called with (further units done, a short note)."""


@contextmanager
def progress_bar(
    description: str, *, total: int | None, unit: str = "images", enabled: bool = True
) -> Generator[Advance]:
    """A bar with throughput and time left. The yielded function advances it."""
    bar = _bar(unit) if enabled else None
    if bar is None:
        yield lambda count, note: None
        return
    with bar:
        task = bar.add_task(description, total=total, note="")
        yield lambda count, note: bar.update(task, advance=count, note=note)


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
