"""The report on a terminal."""

from __future__ import annotations

from lip_plugin.evaluate import Report
from lip_plugin.report.summary import headline, remarks, table_header, table_rows


def print_report(report: Report) -> None:
    """The table and its remarks on stdout; plain text where stdout is no terminal."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    # No markup: "[red]" in a model's name is part of the name.
    console = Console(highlight=False, markup=False, emoji=False)
    if not console.is_terminal:  # a log or a pipe has no width to fit into
        console = Console(highlight=False, markup=False, emoji=False, width=160)
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for index, name in enumerate(table_header(report)):
        table.add_column(name, justify="left" if index == 0 else "right")
    for row in table_rows(report):
        table.add_row(*row)
    console.print(headline(report), style="bold", soft_wrap=True)  # one line, however long: logs are searched by it
    console.print(table)
    for remark in remarks(report):
        console.print(remark, style="bold red" if remark.startswith("FAILED") else None)
