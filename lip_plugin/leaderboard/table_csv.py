"""``leaderboard.csv``: every column of every row, numbers exact."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from lip_plugin.leaderboard.columns import csv_columns
from lip_plugin.leaderboard.tables import Table


def leaderboard_csv(tables: Sequence[Table]) -> str:
    """Shares between 0 and 1. Text stays what it is, also where a spreadsheet would take it for a formula."""
    columns = csv_columns(sorted({eps for table in tables for eps in table.grid}))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([column.key for column in columns])
    writer.writerows([column.exact(entry) for column in columns] for table in tables for entry in table.entries)
    return text.getvalue()
