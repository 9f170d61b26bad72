"""Steps down the gradient of the margin, from a random point near the image."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

import lip_plugin as lp


class MarginSteps(lp.EmpiricalAttack):
    """``steps`` steps in the ball, shorter and shorter, down the margin between label and next class."""

    def __init__(self, steps: int = 20) -> None:
        if type(steps) is not int or steps < 1:
            raise lp.ConfigError(f"steps={steps!r}; expected a whole number of at least 1")
        self.name, self.cost, self._steps = "example:steps", float(steps), steps

    def run(self, model: nn.Module, x: Tensor, y: Tensor, *, eps: float, seed: int) -> Tensor:
        noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(seed), dtype=x.dtype).to(x.device)
        point = x + 0.1 * eps * _unit(noise)
        for step in range(self._steps):
            point = point.detach().requires_grad_(True)
            logits = model(point)
            label = nn.functional.one_hot(y, logits.shape[1]).bool()
            margin = logits[label] - logits.masked_fill(label, -torch.inf).amax(1)
            (gradient,) = torch.autograd.grad(margin.sum(), point)
            moved = point - 2 * eps / (step + 1) * _unit(gradient) - x
            length = torch.linalg.vector_norm(moved.flatten(1), dim=1).view(-1, 1, 1, 1)
            point = (x + moved * (eps / length.clamp_min(1e-12)).clamp_max(1.0)).clamp(0, 1)
        return point


def _unit(x: Tensor) -> Tensor:
    return x / torch.linalg.vector_norm(x.flatten(1), dim=1).clamp_min(1e-12).view(-1, 1, 1, 1)


def make_attack(variant: str, settings: Mapping[str, Any]) -> lp.EmpiricalAttack:
    """For `example:steps?steps=50`. Raises ConfigError for what there is not."""
    if variant != "steps" or not set(settings) <= {"steps"}:
        raise lp.ConfigError(f"no attack example:{variant} with {sorted(settings)}; expected example:steps[?steps=N]")
    return MarginSteps(**settings)
