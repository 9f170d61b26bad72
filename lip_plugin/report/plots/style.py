"""How every plot looks, whatever the user's own matplotlib settings are."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lip_plugin.untrusted import printable

INK = "#24292f"
QUIET = "#6e7781"
PROVED = "#0b62c4"
ATTACKED = "#b35900"
FAILED = "#c02626"
"""The only colours; the page puts its own in their place, for a dark screen."""

WIDTH = 5.0  # inches, of which a phone is two thirds
_LONGEST_LABEL = 44

_STYLE: dict[Any, Any] = {
    "axes.edgecolor": QUIET,
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.labelcolor": INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "font.size": 11,
    "grid.alpha": 0.25,
    "grid.color": QUIET,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "lip",  # the same report gives the same file
    "text.color": INK,
    "text.parse_math": False,  # a dollar sign in a model's name is a dollar sign
    "xtick.color": INK,
    "ytick.color": INK,
}


@contextmanager
def plot_style() -> Generator[None]:
    """For the block, our settings on top of matplotlib's defaults."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_STYLE)
        yield


def new_axes(height: float) -> tuple[Figure, Axes]:
    """A figure outside of pyplot's list of open ones; inches."""
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    return figure, figure.add_subplot()


def label(text: str) -> str:
    """Text of a stranger as a label: printable, of bounded length."""
    return printable(text, longest=_LONGEST_LABEL)
