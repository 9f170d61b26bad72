"""The report on a terminal."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from lip_plugin.evaluate import Report
from lip_plugin.report.summary import headline, remarks, table_header, table_rows

if TYPE_CHECKING:
    from rich.console import Console

_WIDTH = 160  # of a log or a pipe, which has no width to fit into


def print_report(report: Report) -> None:
    """The table and its remarks on stdout; plain text where stdout is no terminal."""
    from rich.console import Console

    # No markup: "[red]" in a model's name is part of the name.
    console = Console(highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        console = Console(highlight=False, markup=False, emoji=False, width=_WIDTH)
    _print(report, console)


def text(report: Report) -> str:
    """The same as plain text."""
    from rich.console import Console

    lines = io.StringIO()
    _print(report, Console(file=lines, highlight=False, markup=False, emoji=False, width=_WIDTH, color_system=None))
    return "\n".join(line.rstrip() for line in lines.getvalue().strip().split("\n"))


def _print(report: Report, console: Console) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for index, name in enumerate(table_header(report)):
        table.add_column(name, justify="left" if index == 0 else "right")
    for row in table_rows(report):
        table.add_row(*row)
    console.print(headline(report), style="bold", soft_wrap=True)  # one line, however long: logs are searched by it
    console.print(table)
    for remark in remarks(report):
        console.print(remark, style="bold red" if remark.startswith("FAILED") else None)
