"""``leaderboard.md``: the tables one after the other."""

from __future__ import annotations

import re
from collections.abc import Sequence

from lip_plugin.leaderboard.columns import Column
from lip_plugin.leaderboard.entry import Entry
from lip_plugin.leaderboard.tables import Table, legend
from lip_plugin.leaderboard.words import HOW_TO_READ, caption

# What Markdown or a table of it would act on. Underscores inside a word are left alone, as Markdown does.
_ACTIVE = re.compile(r"[\\`*\[\]<>|~&$]|(?<![0-9A-Za-z])_|_(?![0-9A-Za-z])")


def leaderboard_markdown(tables: Sequence[Table]) -> str:
    """Small print stands in brackets behind its figure."""
    parts = ["# Leaderboard", *HOW_TO_READ]
    for table in tables:
        parts += [f"## {escaped(table.title)}", escaped(caption(table)), _table(table)]
    parts += ["## Words", "\n".join(f"- {word}: {escaped(meaning)}." for word, meaning in legend(tables))]
    return "\n\n".join(parts) + "\n"


def escaped(text: str) -> str:
    """Text that stays text."""
    return _ACTIVE.sub(r"\\\g<0>", text)


def _table(table: Table) -> str:
    columns = table.columns
    lines = [
        [column.title for column in columns],
        ["---" if column.words else "---:" for column in columns],
        *([_cell(column, entry) for column in columns] for entry in table.entries),
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(column: Column, entry: Entry) -> str:
    text, note = escaped(column.text(entry)), escaped(column.small_print(entry))
    if column.kind == "source" and entry.link:
        note = f"[{note}](<{entry.link}>)"
    return f"{text} ({note})" if note else text
