"""All files of a leaderboard."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lip_plugin.errors import MissingDependencyError
from lip_plugin.extras import report_extra
from lip_plugin.leaderboard.markdown import leaderboard_markdown
from lip_plugin.leaderboard.table_csv import leaderboard_csv
from lip_plugin.leaderboard.tables import Table

LEADERBOARD_FILES = frozenset({"index.html", "leaderboard.md", "leaderboard.csv"})
"""What a leaderboard's directory holds, and all that `--overwrite` of one may replace."""


def fill_leaderboard(tables: Sequence[Table], folder: Path) -> str | None:
    """Write ``leaderboard.csv``, ``leaderboard.md`` and, with the extra ``report``, ``index.html``.

    Returns why there is no page, None where there is one. Raises OSError.
    """
    (folder / "leaderboard.csv").write_text(leaderboard_csv(tables), encoding="utf-8", newline="")
    (folder / "leaderboard.md").write_text(leaderboard_markdown(tables), encoding="utf-8")
    try:
        with report_extra():
            from lip_plugin.leaderboard.page import leaderboard_page
        page = leaderboard_page(tables)
    except MissingDependencyError as error:
        return str(error)
    (folder / "index.html").write_text(page, encoding="utf-8")
    return None
