"""What is attacked how: the arguments of a comparison, checked before any work."""

from __future__ import annotations

import dataclasses
import numbers
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from torch import Tensor

from lip_plugin.errors import ConfigError
from lip_plugin.evaluate.attack import EmpiricalAttack
from lip_plugin.evaluate.attacks import get_attack
from lip_plugin.evaluate.audit import audit_stages, parse_audit
from lip_plugin.evaluate.blocks import BLOCK_SIZE
from lip_plugin.evaluate.work import KEPT_PICTURES
from lip_plugin.network import CertifiedClassifier
from lip_plugin.types import parse_eps_grid

EpsArgument = float | str | Sequence[float | str]


@dataclass(frozen=True)
class Plan:
    """What is attacked how. ``attacks`` are in the order they run, cheap to expensive; ``eps`` ascends.

    ``audit`` is the number of certified images attacked per eps where certified images are skipped, None
    for all of them. ``pictures`` is the number of adversarial pictures that are kept, None for all of them.
    """

    eps: tuple[float, ...]
    attacks: tuple[EmpiricalAttack, ...]
    audit: int | None
    skip_certified: bool
    seed: int
    block_size: int
    pictures: int | None = KEPT_PICTURES

    def stages(self, model: CertifiedClassifier) -> int:
        """How often the images are gone through."""
        audits = len(audit_stages(model.num_classes)) if self.audits else 0
        return len(self.eps) * (sum(len(attack.stages) for attack in self.attacks) + audits)

    def certificate_aware(self) -> Plan:
        """The same plan with certified images skipped, for its counts alone."""
        return dataclasses.replace(self, skip_certified=True, audit=0, pictures=0)

    @property
    def audits(self) -> bool:
        return self.skip_certified and self.audit != 0


def attack_plan(
    eps: EpsArgument,
    attacks: Sequence[str | EmpiricalAttack],
    audit: int | str,
    skip_certified: bool,
    seed: int,
    batch_size: int | None,
    pictures: int | None = KEPT_PICTURES,
) -> Plan:
    """The plan that the arguments of `compare` ask for. Raises ConfigError, MissingDependencyError."""
    limit = parse_audit(audit)
    if isinstance(attacks, str):
        attacks = (attacks,)
    chosen = cheapest_first([get_attack(attack) if isinstance(attack, str) else attack for attack in attacks])
    names = [attack.name for attack in chosen]
    if not names or len(set(names)) != len(names):
        raise ConfigError(f"attacks must be at least one and differ in name, got {names}")
    if type(seed) is not int or seed < 0:
        raise ConfigError(f"seed must be an int >= 0, got {seed!r}")
    if pictures is not None and (type(pictures) is not int or pictures < 0):
        raise ConfigError(f"pictures must be an int >= 0, or None for all of them, got {pictures!r}")
    return Plan(_grid(eps), chosen, limit, skip_certified, seed, _block_size(batch_size), pictures)


def proof_plan(eps: EpsArgument, batch_size: int | None) -> Plan:
    """No attack at all. Raises ConfigError."""
    return Plan(_grid(eps), (), audit=0, skip_certified=True, seed=0, block_size=_block_size(batch_size))


def total_cost(attack: EmpiricalAttack) -> float:
    return sum(stage.cost for stage in attack.stages)


def cheapest_first(attacks: Sequence[EmpiricalAttack]) -> tuple[EmpiricalAttack, ...]:
    return tuple(sorted(attacks, key=total_cost))


def _grid(eps: EpsArgument) -> tuple[float, ...]:
    if isinstance(eps, str | numbers.Real):
        return parse_eps_grid([eps])
    if isinstance(eps, Tensor):
        return parse_eps_grid(eps.flatten().tolist())
    if not isinstance(eps, Iterable):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ConfigError(f"eps {eps!r} is not a number or a list of numbers")
    return parse_eps_grid(eps)


def _block_size(batch_size: int | None) -> int:
    size = BLOCK_SIZE if batch_size is None else batch_size
    if type(size) is not int or size < 1:
        raise ConfigError(f"batch_size must be an int >= 1, got {batch_size!r}")
    return size
