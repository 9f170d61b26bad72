"""Our models in other people's zoos, found through the entry-point group ``lip_plugin.integrations``."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import cast

from lip_plugin.plugins import PluginGroup

INTEGRATIONS = PluginGroup("lip_plugin.integrations", "integration")

Integration = Callable[[Iterable[str] | None], list[str]]
"""(names of models, or None for all that fit) -> the names that the other zoo has now."""


def register_with_robustbench(names: str | Iterable[str] | None = None) -> list[str]:
    """Make models loadable by `robustbench.utils.load_model`, offline; returns their names, sorted.

    ``names``: models of the zoo; None takes every one whose data set RobustBench has. Imports RobustBench, on the
    package index's version 1.1.1 with what it lacks there (docs/robustbench.md), so call it before importing
    anything from `robustbench`; calling it again is harmless. Raises UnknownModelError; ConfigError for a named
    model that cannot run there; MissingDependencyError, which says what to install.
    """
    integration = cast("Integration", INTEGRATIONS.load("robustbench"))
    return integration([names] if isinstance(names, str) else names)
