"""What a reader has to know beside the tables: the same sentences for the page and for Markdown."""

from __future__ import annotations

from collections import Counter

from lip_plugin.leaderboard.entry import Origin, Standing
from lip_plugin.leaderboard.tables import Table
from lip_plugin.types import format_eps

HOW_TO_READ = (
    "VRA, verified-robust accuracy, is the share of images that are classified correctly with a certificate for the "
    "L2 radius, pixels in [0,1]: a lower bound of robust accuracy, as good as its certificate. What survives an "
    "attack is an upper bound, named by the attack; the gap lies between the two. Accuracies are in percent.",
    "Rows marked claimed are read from files that anybody can write, and nothing of them was checked here; rows marked "
    "verified were. Reported is what others have published, with their own hardware and bounds: compare by "
    "certificates, and with regard to extra training data. Only whole official test splits are ranked; n= in a name is "
    "the number of images of any other run.",
)


_STANDINGS = {
    Standing.PROVED: "Upper bounds proved from the weights, rounding included, or claimed to be so",
    Standing.ASSUMED: "Nothing here was proved by lip-plugin: these rows are not ranked among those that were",
}


def caption(table: Table) -> str:
    """What the rows rest on, how many of which kind they are, and their order."""
    return f"{_STANDINGS[table.standing]}. {_order(table)}"


def _order(table: Table) -> str:
    kinds = Counter(_KINDS.get(entry.origin, "claimed") for entry in table.entries)
    counts = ", ".join(f"{kinds[kind]} {kind}" for kind in ("verified", "claimed", "reported") if kinds[kind])
    if not table.ranked or table.standard_eps is None:
        return f"{counts}; not ranked. L2, accuracies in percent."
    rest = "; partial runs, and rows without that radius, follow, not ranked" if table.unranked else ""
    return f"{counts}; sorted by VRA at {format_eps(table.standard_eps)}{rest}. L2, accuracies in percent."


_KINDS = {Origin.VERIFIED: "verified", Origin.PUBLISHED: "reported"}
