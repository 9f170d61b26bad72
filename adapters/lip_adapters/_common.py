"""What the attack adapters share: a network that foreign code can take, stages, checked settings, lazy imports."""

from __future__ import annotations

import importlib
import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from lip_plugin.errors import ConfigError, MissingDependencyError, close_matches
from lip_plugin.evaluate.attack import EmpiricalAttack
from lip_plugin.evaluate.view import AttackView

# Numbers of something: at least 1, never a fraction.
_COUNTS = frozenset(
    (
        "batch_max",
        "binary_search_steps",
        "eot_iter",
        "max_iterations",
        "n_iter",
        "n_queries",
        "n_restarts",
        "n_target_classes",
        "noise_batch_size",
        "steps",
    )
)


class Rendering(nn.Module):
    """(B, C, H, W) float32 -> (B, K) float32 logits of a network of either dtype, at a useful size and above zero.

    Foreign libraries cast images to float32 on their own, and a float64 network refuses those. The logits are
    rescaled and shifted for every attack: neither changes a prediction, cross-entropy attacks need the scale
    (margins of 1-Lipschitz networks leave the softmax flat, large ones underflow), FAB drops pixels whose
    gradient is below 1e-8, CW compares logits with zero, and the others are indifferent.
    """

    def __init__(self, view: AttackView, x: Tensor) -> None:
        super().__init__()
        self.view = view.rescaled(x, positive=True)
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        return self.view(x.to(self.view.model.dtype)).float()


class Composite(EmpiricalAttack):
    """Stages, each on what the ones before it left standing."""

    def __init__(self, name: str, stages: Iterable[EmpiricalAttack]) -> None:
        self.name, self._stages = name, tuple(stages)
        self.cost = sum(stage.cost for stage in self._stages)

    @property
    def stages(self) -> tuple[EmpiricalAttack, ...]:
        return self._stages

    def run(self, model: AttackView, x: Tensor, y: Tensor, *, eps: float, seed: int) -> Tensor:
        """All stages, whatever those before saw, without the port's re-check in between."""
        points = x.clone()
        for stage in self._stages:
            standing = (model(points).argmax(dim=1) == y).nonzero().squeeze(1)
            if len(standing):
                radii = torch.full((len(standing),), eps, dtype=torch.float64, device=x.device)
                found = stage.run_each(model, x[standing], y[standing], eps=radii, seed=seed)
                points[standing] = found.to(x.dtype)
        return points


def require(module: str, extra: str) -> Any:
    """Import a foreign library. Raises MissingDependencyError, which names the extra."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingDependencyError(
            f"{module} cannot be imported ({error}); install it with: pip install 'lip-plugin[{extra}]'"
        ) from error


def checked_settings(attack: str, known: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """``given`` over the defaults in ``known``. Raises ConfigError naming the known ones or the expected kind."""
    for key, value in given.items():
        if key not in known:
            names = ", ".join(sorted(known)) or "none"
            raise ConfigError(f"{attack} has no setting {key!r}; known: {names}.{close_matches(key, known)}")
        expected = _misfit(key, value, known[key])
        if expected:
            raise ConfigError(f"{attack}: {key}={value!r}; expected {expected}")
    return {**known, **given}


def _misfit(key: str, value: Any, default: Any) -> str:
    """What was expected instead of the value; empty where it fits."""
    if isinstance(default, bool):
        return "" if isinstance(value, bool) else "True or False"
    if isinstance(default, str):
        return "" if isinstance(value, str) else "a name"
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if key in _COUNTS:
        return "" if is_number and isinstance(value, int) and value >= 1 else "a whole number of at least 1"
    return "" if is_number and math.isfinite(value) and value >= 0 else "a finite number of at least 0"
