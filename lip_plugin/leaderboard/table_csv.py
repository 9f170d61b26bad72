"""``leaderboard.csv``: every column of every row, numbers exact."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence

from lip_plugin.leaderboard.columns import csv_columns
from lip_plugin.leaderboard.tables import Table

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
_NUMBER = re.compile(r"[-+]?[0-9]+(\.[0-9]+)?(e[-+]?[0-9]+)?")


def leaderboard_csv(tables: Sequence[Table]) -> str:
    """Shares between 0 and 1. An apostrophe stands before text that a spreadsheet would run as a formula."""
    columns = csv_columns(sorted({eps for table in tables for eps in table.grid}))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([_cell(column.key) for column in columns])
    writer.writerows([_cell(column.exact(entry)) for column in columns] for table in tables for entry in table.entries)
    return text.getvalue()


def _cell(text: str) -> str:
    return f"'{text}" if text.startswith(_FORMULA) and not _NUMBER.fullmatch(text) else text
