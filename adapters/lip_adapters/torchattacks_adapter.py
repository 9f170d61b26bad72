"""torchattacks 3.5.1: its L2 attacks by their own names and settings.

CW, DeepFool, EADEN and EADL1 know no eps: the port pulls their points into the ball and re-evaluates.
`torchattacks.AutoAttack` is not AutoAttack: it takes a tenth of the steps.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from lip_adapters._canvas import on_canvas
from lip_adapters._common import Rendering, checked_settings, require
from lip_plugin.errors import ConfigError, close_matches
from lip_plugin.evaluate.attack import EmpiricalAttack
from lip_plugin.evaluate.view import AttackView

# Name -> fewest classes. The targeted DLR loss of APGDT, and of AutoAttack with it, takes the fourth largest logit.
_L2_ATTACKS = {
    "PGDL2": 2,
    "PGDRSL2": 2,
    "CW": 2,
    "DeepFool": 2,
    "EADEN": 2,
    "EADL1": 2,
    "APGD": 2,
    "APGDT": 4,
    "FAB": 2,
    "Square": 2,
    "AutoAttack": 4,
}
_MINIMUM_NORM = ("CW", "DeepFool", "EADEN", "EADL1")
# Set by the port, or of no use to it.
_RESERVED = ("model", "norm", "eps", "seed", "n_classes", "verbose")
_CHOICES = {
    ("APGD", "loss"): ("ce", "dlr"),
    ("Square", "loss"): ("margin", "ce"),
    ("AutoAttack", "version"): ("standard", "plus", "rand"),
    ("PGDRSL2", "noise_type"): ("guassian", "uniform"),  # the library's spelling
}
# EAD looks at its loss every max_iterations // 10 iterations, modulo that number.
_FEWEST_EAD_ITERATIONS = 10
# Settings whose product is about the number of forwards.
_EFFORT = ("steps", "n_restarts", "n_queries", "max_iterations", "binary_search_steps", "noise_batch_size", "eot_iter")
_AUTOATTACK_COST = 5200.0
# A pixel of exactly 0 or 1 is at infinity in CW's tanh space and never moves. From 1e-6 it moves too slowly for the
# default learning rate: on 28 x 28 images of zeros and ones, 200 steps broke 0 of 16 from there, 16 of 16 from 1e-4.
_CW_INSET = 1e-4


def make_attack(variant: str, settings: Mapping[str, Any]) -> EmpiricalAttack:
    """An L2 attack of torchattacks; settings are the arguments of its constructor that the port does not set.

    Raises ConfigError on an unknown attack, one that is not for L2, or an unknown setting;
    MissingDependencyError without torchattacks.
    """
    library = require("torchattacks", "torchattacks")
    if variant not in _L2_ATTACKS:
        known = ", ".join(_L2_ATTACKS)
        if variant and inspect.isclass(getattr(library, variant, None)):
            raise ConfigError(f"torchattacks.{variant} is not an L2 attack; those are: {known}")
        raise ConfigError(
            f"torchattacks has no attack {variant!r}; known: {known}.{close_matches(variant, _L2_ATTACKS)}"
        )
    return _TorchAttack(variant, getattr(library, variant), settings)


class _TorchAttack(EmpiricalAttack):
    def __init__(self, kind: str, factory: Any, settings: Mapping[str, Any]) -> None:
        self.name = f"torchattacks:{kind}"
        self._kind, self._factory = kind, factory
        self.minimum_norm = kind in _MINIMUM_NORM
        defaults = {
            name: parameter.default
            for name, parameter in inspect.signature(factory).parameters.items()
            if name not in _RESERVED
        }
        merged = checked_settings(self.name, defaults, settings)
        self._check_values(merged)
        self._settings = dict(settings)
        self._fewest_classes = 3 if merged.get("loss") == "dlr" else _L2_ATTACKS[kind]
        effort = math.prod(float(merged.get(name, 1)) for name in _EFFORT)
        self.cost = _AUTOATTACK_COST if kind == "AutoAttack" else effort

    def _check_values(self, merged: Mapping[str, Any]) -> None:
        for key, value in merged.items():
            choices = _CHOICES.get((self._kind, key))
            if choices is not None and value not in choices:
                raise ConfigError(f"{self.name}: {key}={value!r}; expected one of {', '.join(choices)}")
        if merged.get("max_iterations", _FEWEST_EAD_ITERATIONS) < _FEWEST_EAD_ITERATIONS:
            raise ConfigError(f"{self.name}: max_iterations must be at least {_FEWEST_EAD_ITERATIONS}")

    def run(self, model: AttackView, x: Tensor, y: Tensor, *, eps: float, seed: int) -> Tensor:
        if model.num_classes < self._fewest_classes:
            raise ConfigError(
                f"{self.name} cannot attack {model.num_classes} classes, it needs {self._fewest_classes}; "
                "use FAB, PGDL2 or Square"
            )
        if len(x) == 0 or eps == 0:
            return x

        def perturbed(network: nn.Module, images: Tensor) -> Tensor:
            points: Tensor = self._factory(network, **self._arguments(model.num_classes, eps, seed))(images, y.long())
            return points

        attack = on_canvas(perturbed) if self._kind in ("Square", "AutoAttack") else perturbed
        start = x.float().clamp(_CW_INSET, 1.0 - _CW_INSET) if self._kind == "CW" else x.float()
        return attack(Rendering(model, x), start)

    def _arguments(self, classes: int, eps: float, seed: int) -> dict[str, Any]:
        """The port's values for what the constructor takes of them, and the user's settings."""
        accepted = inspect.signature(self._factory).parameters
        # The library's default step is 0.2 at its default eps of 1; kept, it would leap across a small ball.
        from_port = {"norm": "L2", "eps": eps, "seed": seed, "n_classes": classes, "alpha": 0.2 * eps}
        return {**{key: value for key, value in from_port.items() if key in accepted}, **self._settings}
