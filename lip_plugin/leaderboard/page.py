"""``index.html``: one self-contained file; needs jinja2, of the extra ``report``."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from functools import cache
from importlib import resources

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from lip_plugin.leaderboard.columns import Column
from lip_plugin.leaderboard.entry import Certificate, Entry, Origin
from lip_plugin.leaderboard.tables import Table, legend
from lip_plugin.leaderboard.words import HOW_TO_READ, caption
from lip_plugin.types import format_eps
from lip_plugin.version import __version__


def leaderboard_page(tables: Sequence[Table]) -> str:
    """Every cell says which column of ``leaderboard.csv`` it is and holds its exact value.

    Names are a stranger's: they are escaped, and a content security policy lets the page load nothing and run only
    the script that sorts its tables.
    """
    script = _file("templates", "sort.js")
    return (
        _environment()
        .get_template("leaderboard.html.jinja")
        .render(
            tables=tables,
            caption=caption,
            sorted_column=_sorted_column,
            row_class=_row_class,
            how_to_read=HOW_TO_READ,
            legend=legend(tables),
            css=Markup(_report_style() + _file("templates", "leaderboard.css")),
            script=Markup(script),
            script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
            version=__version__,
        )
    )


def _sorted_column(table: Table, column: Column) -> bool:
    return table.standard_eps is not None and column.key == f"vra@{format_eps(table.standard_eps)}"


def _row_class(entry: Entry) -> str:
    """Only a proof that was made again for this leaderboard is coloured as one."""
    if entry.certificate is Certificate.CONTRADICTED:
        return "contradicted"
    if entry.origin is Origin.PUBLISHED:
        return "reported"
    return "sound" if entry.certificate is Certificate.SOUND else "claimed"


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("lip_plugin.leaderboard"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _report_style() -> str:
    """The colours and tables of a report's page; read by path, since importing that room imports torch."""
    path = resources.files("lip_plugin") / "report" / "page" / "templates" / "report.css"
    return path.read_text(encoding="utf-8")


def _file(*names: str) -> str:
    path = resources.files("lip_plugin.leaderboard")
    for name in names:
        path = path / name
    return path.read_text(encoding="utf-8")
