"""pyautoattack 0.2: L2 AutoAttack and its parts.

The attack classes are called directly, with the hyper-parameters of AutoAttack's standard version. Its own
`run_standard_evaluation` adds nothing that the port does not do, and leaves things behind: it unsets
`sys.settrace`, counts in module globals that are never reset, reseeds from the clock and logs warnings.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from lip_adapters._canvas import on_canvas
from lip_adapters._common import Rendering, checked_settings, require
from lip_plugin.errors import ConfigError, close_matches
from lip_plugin.evaluate.attack import EmpiricalAttack
from lip_plugin.evaluate.view import AttackView


class _Part(NamedTuple):
    cost: float  # image-forwards per surviving image with the defaults and 10 classes
    fewest_classes: int
    settings: tuple[str, ...]


# The DLR loss divides by a difference to the third largest logit, its targeted form needs the fourth.
_PARTS = {
    "apgd-ce": _Part(111, 2, ("n_iter", "n_restarts")),
    "apgd-dlr": _Part(111, 3, ("n_iter", "n_restarts")),
    "apgd-t": _Part(928, 4, ("n_iter", "n_restarts", "n_target_classes")),
    "fab-t": _Part(1837, 2, ("n_iter", "n_restarts", "n_target_classes")),
    "square": _Part(5012, 2, ("n_queries", "n_restarts")),
}
_STANDARD = ("apgd-ce", "apgd-t", "fab-t", "square")
_DEFAULTS: Mapping[str, int] = {"n_iter": 100, "n_restarts": 1, "n_target_classes": 9, "n_queries": 5000}

# Without a logger the library warns through `warnings`.
_SILENT = logging.Logger("pyautoattack")
_SILENT.disabled = True


def make_attack(variant: str, settings: Mapping[str, Any]) -> EmpiricalAttack:
    """``""`` is standard AutoAttack, else one of apgd-ce, apgd-dlr, apgd-t, fab-t, square.

    Settings: n_iter, n_restarts, n_target_classes, n_queries, those that the variant has.
    Raises ConfigError on an unknown variant or setting, MissingDependencyError without pyautoattack.
    """
    require("pyautoattack", "autoattack")
    if variant == "":
        return _Standard(settings)
    if variant not in _PARTS:
        raise ConfigError(
            f"autoattack has no variant {variant!r}; known: {', '.join(_PARTS)}, or none for all of "
            f"{', '.join(_STANDARD)}.{close_matches(variant, _PARTS)}"
        )
    return _Single(variant, settings)


class _Single(EmpiricalAttack):
    """One part of AutoAttack. Raises ConfigError where the network has too few classes, unless it may be skipped."""

    def __init__(self, part: str, settings: Mapping[str, Any], *, may_be_skipped: bool = False) -> None:
        self.name = f"autoattack:{part}"
        self._part, self._may_be_skipped = part, may_be_skipped
        known = {key: _DEFAULTS[key] for key in _PARTS[part].settings}
        self._settings: dict[str, int] = checked_settings(self.name, known, settings)
        self.cost = _PARTS[part].cost
        for key, default in known.items():
            self.cost *= self._settings[key] / default

    def run(self, model: AttackView, x: Tensor, y: Tensor, *, eps: float, seed: int) -> Tensor:
        if not self._applies(model.num_classes) or len(x) == 0 or eps == 0:
            return x

        def perturbed(network: nn.Module, images: Tensor) -> Tensor:
            points: Tensor = self._build(network, model.num_classes, eps, seed, x.device).perturb(images, y.long())
            return points

        attack = on_canvas(perturbed) if self._part == "square" else perturbed
        return attack(Rendering(model, x), x.float())

    def _applies(self, classes: int) -> bool:
        if classes >= _PARTS[self._part].fewest_classes:
            return True
        if self._may_be_skipped:
            return False
        others = ", ".join(name for name, part in _PARTS.items() if part.fewest_classes <= classes)
        raise ConfigError(f"{self.name} cannot attack {classes} classes (its loss needs more logits); use {others}")

    def _build(self, network: nn.Module, classes: int, eps: float, seed: int, device: torch.device) -> Any:
        # Imported here: `make_attack` has checked that the library is there, and nobody else should pay for it.
        base, fab, square = (
            require(f"pyautoattack.{module}", "autoattack") for module in ("autopgd_base", "fab_pt", "square")
        )
        shared: dict[str, Any] = {"norm": "L2", "eps": eps, "seed": seed, "device": device, "verbose": False}
        shared.update(self._settings)
        if "n_target_classes" in shared:
            shared["n_target_classes"] = min(shared["n_target_classes"], classes - 1)
        if self._part == "fab-t":
            return fab.FABAttack_PT(network, targeted=True, **shared)
        if self._part == "square":
            return _without_ties(square.SquareAttack(network, p_init=0.8, resc_schedule=False, **shared))
        shared.update(eot_iter=1, rho=0.75, logger=_SILENT)
        if self._part == "apgd-t":
            return base.APGDAttack_targeted(network, **shared)
        return base.APGDAttack(network, loss=self._part.removeprefix("apgd-"), **shared)


def _without_ties(attack: Any) -> Any:
    """Square divides its images by margin < 0 and margin > 0, and crashes where all that are left sit at 0."""
    margin_and_loss = attack.margin_and_loss

    def strict(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        margin, loss = margin_and_loss(x, y)
        return torch.where(margin == 0, -1e-30, margin), loss

    attack.margin_and_loss = strict
    return attack


class _Standard(EmpiricalAttack):
    """AutoAttack's standard version, cheap parts first; with fewer than 4 classes APGD-T finds nothing."""

    name = "autoattack"

    def __init__(self, settings: Mapping[str, Any]) -> None:
        checked_settings(self.name, _DEFAULTS, settings)
        self._stages = tuple(
            _Single(part, {k: v for k, v in settings.items() if k in _PARTS[part].settings}, may_be_skipped=True)
            for part in _STANDARD
        )
        self.cost = sum(stage.cost for stage in self._stages)

    @property
    def stages(self) -> tuple[EmpiricalAttack, ...]:
        return self._stages

    def run(self, model: AttackView, x: Tensor, y: Tensor, *, eps: float, seed: int) -> Tensor:
        """All stages without the port's re-check in between."""
        points = x.clone()
        for stage in self._stages:
            standing = model(points).argmax(dim=1) == y
            if not bool(standing.any()):
                break
            points[standing] = stage.run(model, x[standing], y[standing], eps=eps, seed=seed).to(x.dtype)
        return points
