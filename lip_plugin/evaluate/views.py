"""How a report is shown: found through the entry-point group ``lip_plugin.views``, so that no finding depends on it."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import entry_points
from typing import Any

from lip_plugin.errors import MissingDependencyError

ENTRY_POINT_GROUP = "lip_plugin.views"


def view(name: str) -> Callable[[Any], Any]:
    """The function of a report that goes by this name. Raises MissingDependencyError."""
    found = {entry.name: entry for entry in entry_points(group=ENTRY_POINT_GROUP)}
    if name not in found:
        raise MissingDependencyError(f"this installation knows no view {name!r} of a report; install lip-plugin again")
    return found[name].load()
