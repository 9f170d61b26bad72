"""What a reader has to know beside the tables: the same sentences for the page and for Markdown."""

from __future__ import annotations

from lip_plugin.leaderboard.entry import Origin
from lip_plugin.leaderboard.tables import Table
from lip_plugin.types import format_eps

HOW_TO_READ = (
    "VRA, verified-robust accuracy, is the share of images that are classified correctly with a certificate for the "
    "L2 radius, pixels in [0,1]: a lower bound of robust accuracy, as good as its certificate. What survives an "
    "attack is an upper bound, named by the attack; the gap lies between the two. Accuracies are in percent.",
    "Figures are read from files and not checked here. Rows marked reported are what others have published, with "
    "their own images, hardware and bounds: compare them with measured rows by their certificates, and with regard "
    "to extra training data.",
)


def caption(table: Table) -> str:
    """How many rows of which kind, and their order."""
    reported = sum(entry.origin is Origin.PUBLISHED for entry in table.entries)
    order = "" if table.standard_eps is None else f"; sorted by VRA at {format_eps(table.standard_eps)}"
    rest = "; rows without that radius follow, not ranked" if table.unranked else ""
    return f"{len(table.entries) - reported} measured, {reported} reported{order}{rest}. L2, accuracies in percent."
