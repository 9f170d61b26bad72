"""Attacks by specification string, found through the entry-point group ``lip_plugin.attacks``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from lip_plugin.errors import ConfigError
from lip_plugin.evaluate.attack import EmpiricalAttack
from lip_plugin.plugins import PluginGroup, read_settings, written_settings

ATTACKS = PluginGroup("lip_plugin.attacks", "attack library")

AttackFactory = Callable[[str, Mapping[str, Any]], EmpiricalAttack]
"""(variant, settings) -> attack. The variant is "" where the specification names none."""


@dataclass(frozen=True)
class AttackSpec:
    """``library[:variant][?key=value&key=value]``, for example ``torchattacks:PGDL2?steps=50``."""

    library: str
    variant: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict[str, Any])


def parse_attack_spec(text: str) -> AttackSpec:
    """Values are Python literals where they parse as such, strings otherwise. Raises ConfigError."""
    if not isinstance(text, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ConfigError(f"attack {text!r} is not a specification such as 'autoattack'")
    name, _, query = text.strip().partition("?")
    library, _, variant = name.partition(":")
    if not library:
        raise ConfigError(f"attack {text!r} names no library; expected library[:variant][?key=value&...]")
    return AttackSpec(library, variant, read_settings(query, f"attack {text!r}"))


def get_attack(spec: str) -> EmpiricalAttack:
    """The attack that a specification names. Raises ConfigError, MissingDependencyError (names the extra)."""
    parsed = parse_attack_spec(spec)
    factory = cast("AttackFactory", ATTACKS.load(parsed.library))
    attack = factory(parsed.variant, parsed.settings)
    attack.name += written_settings(parsed.settings)  # no other attack must go by the standard one's name
    return attack
