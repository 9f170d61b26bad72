"""pyautoattack 0.2: L2 AutoAttack and its parts.

The attack classes are called directly, with the hyper-parameters of AutoAttack's standard version. Its own
`run_standard_evaluation` adds nothing that the port does not do, and leaves things behind: it unsets
`sys.settrace`, counts in module globals that are never reset, reseeds from the clock and logs warnings.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lip_adapters._autoattack_parts import Search, apgd, apgd_targeted, fab_targeted, square
from lip_adapters._common import Composite, Rendering, checked_settings, require
from lip_plugin.errors import ConfigError, close_matches
from lip_plugin.evaluate.attack import EmpiricalAttack
from lip_plugin.evaluate.view import AttackView


class _Part(NamedTuple):
    search: Search
    cost: float  # image-forwards per surviving image with the defaults and 10 classes
    fewest_classes: int
    settings: tuple[str, ...]
    minimum_norm: bool = False


# The DLR loss divides by a difference to the third largest logit, its targeted form needs the fourth.
_PARTS = {
    "apgd-ce": _Part(apgd("ce"), 111, 2, ("n_iter", "n_restarts")),
    "apgd-dlr": _Part(apgd("dlr"), 111, 3, ("n_iter", "n_restarts")),
    "apgd-t": _Part(apgd_targeted, 928, 4, ("n_iter", "n_restarts", "n_target_classes")),
    "fab-t": _Part(fab_targeted, 1837, 2, ("n_iter", "n_restarts", "n_target_classes"), minimum_norm=True),
    "square": _Part(square, 5012, 2, ("n_queries", "n_restarts")),
}
_STANDARD = ("apgd-ce", "apgd-t", "fab-t", "square")
_DEFAULTS: Mapping[str, int] = {"n_iter": 100, "n_restarts": 1, "n_target_classes": 9, "n_queries": 5000}


def make_attack(variant: str, settings: Mapping[str, Any]) -> EmpiricalAttack:
    """``""`` is standard AutoAttack, else one of apgd-ce, apgd-dlr, apgd-t, fab-t, square.

    Settings: n_iter, n_restarts, n_target_classes, n_queries, those that the variant has.
    Raises ConfigError on an unknown variant or setting, MissingDependencyError without pyautoattack.
    """
    require("pyautoattack", "autoattack")
    if variant == "":
        return _standard(settings)
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
        self._part, self._may_be_skipped = _PARTS[part], may_be_skipped
        self.minimum_norm = self._part.minimum_norm
        known = {key: _DEFAULTS[key] for key in self._part.settings}
        self._settings: dict[str, int] = checked_settings(self.name, known, settings)
        self.cost = self._part.cost
        for key, default in known.items():
            self.cost *= self._settings[key] / default

    def run(self, model: AttackView, x: Tensor, y: Tensor, *, eps: float, seed: int) -> Tensor:
        return self.run_each(model, x, y, eps=torch.full((len(x),), eps, device=x.device), seed=seed)

    def run_each(self, model: AttackView, x: Tensor, y: Tensor, *, eps: Tensor, seed: int) -> Tensor:
        """All radii in one batch."""
        points, rows = x.clone(), eps.nonzero().squeeze(1)
        if self._applies(model.num_classes) and len(rows):
            network, images = Rendering(model, x[rows]), x[rows].float()
            found = self._part.search(network, images, y[rows].long(), eps[rows].float(), self._settings)
            points[rows] = found.to(points.dtype)
        return points

    def _applies(self, classes: int) -> bool:
        if classes >= self._part.fewest_classes:
            return True
        if self._may_be_skipped:
            return False
        others = ", ".join(name for name, part in _PARTS.items() if part.fewest_classes <= classes)
        raise ConfigError(f"{self.name} cannot attack {classes} classes (its loss needs more logits); use {others}")


def _standard(settings: Mapping[str, Any]) -> EmpiricalAttack:
    """AutoAttack's standard version, cheap parts first; with fewer than 4 classes APGD-T finds nothing."""
    checked_settings("autoattack", _DEFAULTS, settings)
    known = {part: {k: v for k, v in settings.items() if k in _PARTS[part].settings} for part in _STANDARD}
    return Composite("autoattack", (_Single(part, own, may_be_skipped=True) for part, own in known.items()))
