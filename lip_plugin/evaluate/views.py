"""How a report is shown: found through the entry-point group ``lip_plugin.views``, so that no finding depends on it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from lip_plugin.plugins import PluginGroup

VIEWS = PluginGroup("lip_plugin.views", "view of a report")


def view(name: str) -> Callable[..., Any]:
    """The function of a report that goes by this name. Raises as `PluginGroup.load`."""
    return cast("Callable[..., Any]", VIEWS.load(name))
