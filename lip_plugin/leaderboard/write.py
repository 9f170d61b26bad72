"""All files of a leaderboard, complete or not at all."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lip_plugin.errors import MissingDependencyError
from lip_plugin.files import complete_directory
from lip_plugin.leaderboard.markdown import leaderboard_markdown
from lip_plugin.leaderboard.table_csv import leaderboard_csv
from lip_plugin.leaderboard.tables import Table

LEADERBOARD_FILES = frozenset({"index.html", "leaderboard.md", "leaderboard.csv"})
"""What a leaderboard's directory holds, and all that `--overwrite` of one may replace."""

_LIBRARIES = ("jinja2", "markupsafe")


def write_leaderboard(tables: Sequence[Table], directory: Path, *, overwrite: bool = False) -> str | None:
    """Write ``leaderboard.csv``, ``leaderboard.md`` and, with the extra ``report``, ``index.html``.

    Returns why there is no page, None where there is one. ``overwrite`` replaces an earlier leaderboard, and nothing
    but that. Raises ConfigError where writing is impossible.
    """
    missing = None
    with complete_directory(directory, replaceable=LEADERBOARD_FILES if overwrite else frozenset()) as partial:
        (partial / "leaderboard.csv").write_text(leaderboard_csv(tables), encoding="utf-8", newline="")
        (partial / "leaderboard.md").write_text(leaderboard_markdown(tables), encoding="utf-8")
        try:
            page = _page(tables)
        except MissingDependencyError as error:
            missing = str(error)
        else:
            (partial / "index.html").write_text(page, encoding="utf-8")
    return missing


def _page(tables: Sequence[Table]) -> str:
    """Raises MissingDependencyError where the extra is not there; other errors stay what they are."""
    try:
        from lip_plugin.leaderboard.page import leaderboard_page
    except ImportError as error:
        library = (error.name or "").partition(".")[0]
        if library not in _LIBRARIES:
            raise
        raise MissingDependencyError(
            f"{library} cannot be imported ({error}); install it with: pip install 'lip-plugin[report]'"
        ) from error
    return leaderboard_page(tables)
