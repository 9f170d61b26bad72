"""What attacks cost on an image that nothing breaks, in forwards of it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from lip_plugin.evaluate.attacks import get_attack


@dataclass(frozen=True)
class AttackCost:
    """Image-forwards at one eps: ``always``, and ``near`` more where a search saw a point within a few per cent."""

    name: str
    always: float
    near: float


def attack_cost(spec: str) -> AttackCost:
    """As the attack's stages say. Raises ConfigError, MissingDependencyError."""
    attack = get_attack(spec)
    near = sum(stage.cost for stage in attack.stages if stage.within < math.inf)
    return AttackCost(attack.name, sum(stage.cost for stage in attack.stages) - near, near)
