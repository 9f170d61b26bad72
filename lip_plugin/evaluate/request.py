"""What is asked of an evaluation: one value from the first line of a command to the last attack."""

from __future__ import annotations

import dataclasses
import numbers
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from torch import Tensor

from lip_plugin.certificates import require_arithmetic
from lip_plugin.errors import ConfigError
from lip_plugin.evaluate.attack import EmpiricalAttack
from lip_plugin.evaluate.attacks import get_attack
from lip_plugin.evaluate.blocks import BLOCK_SIZE
from lip_plugin.types import Effort, parse_eps_grid

EpsArgument = float | str | Sequence[float | str]

KEPT_PICTURES = 8
"""By default: memory does not grow with the images."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """Everything that a report depends on beside model and images; `Request.of` makes it from what people write.

    ``eps`` ascends; ``attacks`` are in the order they run, cheap to expensive, none for proofs alone. ``audit`` is the
    number of certified images attacked per eps where certified images are skipped, None for all of them.
    ``batch_size`` is the size of a work unit: a contiguous block of images with its own seed. ``pictures`` is the
    number of adversarial pictures that are kept, None for all of them. ``tightness``: also say how much of the bound
    is used; ``audit_lipschitz``: also search for two points that refute it. ``bound``: "quick" or "tight", as
    `lp.bounds_of` says, None for what holds where the request is met.
    """

    eps: tuple[float, ...]
    attacks: tuple[EmpiricalAttack, ...] = ()
    audit: int | None = 0
    skip_certified: bool = True
    seed: int = 0
    batch_size: int = BLOCK_SIZE
    arithmetic: str = "real"
    pictures: int | None = KEPT_PICTURES
    tightness: bool = False
    audit_lipschitz: bool = False
    bound: Effort | None = None

    @classmethod
    def of(
        cls,
        eps: EpsArgument,
        attacks: str | EmpiricalAttack | Sequence[str | EmpiricalAttack] = (),
        *,
        audit: int | str = 8,
        skip_certified: bool = True,
        seed: int = 0,
        batch_size: int | None = None,
        arithmetic: str = "real",
        pictures: int | None = KEPT_PICTURES,
        tightness: bool = False,
        audit_lipschitz: bool = False,
        bound: Effort | None = None,
    ) -> Request:
        """Radii and attacks by name, checked before any work. Without attacks there is nothing to audit or to skip.

        Raises ConfigError, MissingDependencyError.
        """
        limit, chosen = _audit(audit), _attacks(attacks)
        if type(seed) is not int or seed < 0:
            raise ConfigError(f"seed must be an int >= 0, got {seed!r}")
        if pictures is not None and (type(pictures) is not int or pictures < 0):
            raise ConfigError(f"pictures must be an int >= 0, or None for all of them, got {pictures!r}")
        require_arithmetic(arithmetic)
        return cls(
            eps=_grid(eps),
            attacks=chosen,
            audit=limit if chosen else 0,
            skip_certified=skip_certified or not chosen,
            seed=seed if chosen else 0,
            batch_size=_batch_size(batch_size),
            arithmetic=arithmetic,
            pictures=pictures,
            tightness=tightness,
            audit_lipschitz=audit_lipschitz,
            bound=bound,
        )

    def certificate_aware(self) -> Request:
        """The same with certified images skipped, for its counts alone."""
        return dataclasses.replace(self, skip_certified=True, audit=0, pictures=0)

    @property
    def audits(self) -> bool:
        return self.skip_certified and self.audit != 0


def total_cost(attack: EmpiricalAttack) -> float:
    return sum(stage.cost for stage in attack.stages)


def cheapest_first(attacks: Sequence[EmpiricalAttack]) -> tuple[EmpiricalAttack, ...]:
    return tuple(sorted(attacks, key=total_cost))


def _attacks(attacks: str | EmpiricalAttack | Sequence[str | EmpiricalAttack]) -> tuple[EmpiricalAttack, ...]:
    given = (attacks,) if isinstance(attacks, str | EmpiricalAttack) else attacks
    chosen = cheapest_first([get_attack(attack) if isinstance(attack, str) else attack for attack in given])
    names = [attack.name for attack in chosen]
    if len(set(names)) != len(names):
        raise ConfigError(f"attacks must differ in name, got {names}")
    return chosen


def _audit(audit: int | str) -> int | None:
    """How many certified images to attack per eps; None for all of them."""
    if audit == "all":
        return None
    if isinstance(audit, str) and audit.isdecimal():
        return int(audit)
    if type(audit) is int and audit >= 0:
        return audit
    raise ConfigError(f"audit {audit!r} is not a number of images; give 0 or more, or 'all'")


def _grid(eps: EpsArgument) -> tuple[float, ...]:
    if isinstance(eps, str | numbers.Real):
        return parse_eps_grid([eps])
    if isinstance(eps, Tensor):
        return parse_eps_grid(eps.flatten().tolist())
    if not isinstance(eps, Iterable):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ConfigError(f"eps {eps!r} is not a number or a list of numbers")
    return parse_eps_grid(eps)


def _batch_size(batch_size: int | None) -> int:
    size = BLOCK_SIZE if batch_size is None else batch_size
    if type(size) is not int or size < 1:
        raise ConfigError(f"batch_size must be an int >= 1, got {batch_size!r}")
    return size
