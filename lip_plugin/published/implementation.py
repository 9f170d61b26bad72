"""What a published implementation is here: how its state dict becomes a model, and what its weights' shapes tell.

One file with an `Implementation` and one entry point that names it:

    [project.entry-points."lip_plugin.published"]
    their_code = "my_package.their_code:IMPLEMENTATION"
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from lip_plugin.errors import ConfigError
from lip_plugin.models import CertifiableModel, Citation
from lip_plugin.plugins import PluginGroup

IMPLEMENTATIONS = PluginGroup("lip_plugin.published", "converter")


@dataclass(frozen=True)
class Implementation:
    """``build(config, state_dict)`` raises CheckpointError and ConfigError.

    ``needed``: keys that every state dict of it has, by which it is found in a training checkpoint.
    ``sizes(state_dict)``: the config as far as the shapes tell it. ``of_file(settings)``: the config in a configuration
    file that is published beside the weights; without it such files are not read.
    """

    build: Callable[[Mapping[str, Any], Mapping[str, Tensor]], CertifiableModel]
    needed: tuple[str, ...]
    sizes: Callable[[Mapping[str, Tensor]], dict[str, Any]]
    citation: Citation
    of_file: Callable[[Mapping[str, Any]], dict[str, Any]] | None = None


def get_implementation(name: str) -> Implementation:
    """By name. Raises ConfigError, MissingDependencyError."""
    found = IMPLEMENTATIONS.load(name)
    if not isinstance(found, Implementation):
        raise ConfigError(
            f"the converter {name!r} is a {type(found).__name__}; its entry point must name an Implementation"
        )
    return found
