"""A minimum-norm search, then AutoAttack's parts on what it left standing: ``nearest-first`` and ``adaptive``.

The search gives every image its bracket, from the certified radius to the closest point, and costs about as much as one
APGD. ``nearest-first`` goes on with all of AutoAttack, whatever still stands: it breaks what AutoAttack breaks.
``adaptive`` spends AutoAttack only where the search came within a few per cent of eps, and is weaker than AutoAttack.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from lip_adapters._common import Composite, checked_settings
from lip_plugin.errors import ConfigError
from lip_plugin.evaluate.attack import EmpiricalAttack
from lip_plugin.evaluate.attacks import get_attack

_SEARCH = "foolbox:FMN?steps=30"
"""On 233 images of LipPlugin2026_LiResNet_S it broke 140 at 108/255 where FAB-T broke 133, at a median distance 4 %
smaller."""
_WITHIN = 1.05


def make_nearest_first(variant: str, settings: Mapping[str, Any]) -> EmpiricalAttack:
    """No variants, no settings. Raises ConfigError, MissingDependencyError without foolbox or pyautoattack."""
    _no_variant("nearest-first", variant)
    checked_settings("nearest-first", {}, settings)
    return _searched_first("nearest-first", math.inf)


def make_adaptive(variant: str, settings: Mapping[str, Any]) -> EmpiricalAttack:
    """Setting ``within``: AutoAttack is run on images of which a point was seen within this multiple of eps.

    Raises ConfigError, MissingDependencyError without foolbox or pyautoattack.
    """
    _no_variant("adaptive", variant)
    within = float(checked_settings("adaptive", {"within": _WITHIN}, settings)["within"])
    if within < 1:
        raise ConfigError(f"adaptive: within={within!r}; expected a multiple of eps, at least 1")
    return _searched_first("adaptive", within)


def _searched_first(name: str, within: float) -> EmpiricalAttack:
    search, standard = get_attack(_SEARCH), get_attack("autoattack")
    for stage in standard.stages:
        stage.within = within
    return Composite(name, (search, *standard.stages))


def _no_variant(attack: str, variant: str) -> None:
    if variant:
        raise ConfigError(f"{attack} has no variant {variant!r}; leave it out")
