"""An adversary of the Lipschitz upper bound: two points that the network drives as far apart as can be found."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from lip_plugin.certificates import check_images, lipschitz_upper_bound
from lip_plugin.certificates.arithmetic import certifying_arithmetic
from lip_plugin.certificates.enclosure import EnclosedForward, difference_quotient_lower_bound
from lip_plugin.errors import ConfigError, DataError
from lip_plugin.network import CertifiedClassifier, require_unaltered

LIPSCHITZ_AUDIT_IMAGES = 16
"""How many images a command searches from."""

_DISTANCES = (0.1, 100.0)
"""Between the two points: near the images, and where offsets no longer matter."""
_POWER_STEPS = 15
_STEP = 0.1  # of the pair's middle, relative to the distance between its points
_TURN = 0.3  # of its direction, relative to its length


@dataclass(frozen=True)
class LipschitzAudit:
    """A bracket of the constant of the map into features.

    ``lower_bound`` is proved: ||h(a) - h(b)|| / ||a - b|| of the best pair found, rounded down, less the evaluation
    error of both features. ``upper_bound`` is the bound on trial; ``forwards`` counts images passed through.
    """

    lower_bound: float
    upper_bound: float
    forwards: int

    @property
    def contradicted(self) -> bool:
        """Whether the upper bound is refuted."""
        return self.lower_bound > self.upper_bound


def audit_lipschitz(model: CertifiedClassifier, x: Tensor, *, steps: int = 100, seed: int = 0) -> LipschitzAudit:
    """Search for the largest ||h(a) - h(b)|| / ||a - b||, h the map into features, a and b anywhere in R^n.

    From every image of x (B, C, H, W): the top singular direction of the Jacobian by power iteration, then ``steps`` of
    gradient ascent on the middle and the direction of a pair, at two distances. Float64 throughout; random draws depend
    on ``seed`` alone. Raises DataError and ConfigError on bad input.
    """
    require_unaltered(model)
    check_images(model, x)
    if len(x) == 0:
        raise DataError("no images were given; give at least one")
    if type(steps) is not int or steps < 1:
        raise ConfigError(f"steps must be at least 1, got {steps!r}")
    bound = lipschitz_upper_bound(model)
    lower = 0.0
    with _ascending():
        search = _Search(model)
        middle = x.detach().to(model.device, torch.float64).clone()
        direction = search.power_iteration(middle, seed)
        pairs = [search.ascend(middle, direction, distance, steps) for distance in _DISTANCES]
    with certifying_arithmetic():
        enclosed = EnclosedForward(model, bound)
        for middle, direction, distance in pairs:
            half = direction * (distance / 2)
            lower = max(lower, difference_quotient_lower_bound(enclosed, middle + half, middle - half))
    forwards = search.forwards + 2 * len(pairs) * len(x)
    return LipschitzAudit(lower, bound.value, forwards)


@contextmanager
def _ascending() -> Generator[None]:
    """Gradients on whatever the caller has set, autocast off."""
    with (
        torch.inference_mode(False),
        torch.enable_grad(),
        torch.autocast("cpu", enabled=False),
        torch.autocast("cuda", enabled=False),
    ):
        yield


class _Search:
    """The map into features in float64, differentiable, and a count of what passes through it."""

    def __init__(self, model: CertifiedClassifier) -> None:
        # Copies: tensors that were made in inference mode stay outside of autograd.
        self._operators = [operator.map_tensors(lambda t: t.double().clone()) for operator in model.operators]
        self.forwards = 0

    def __call__(self, x: Tensor) -> Tensor:
        self.forwards += len(x)
        for operator in self._operators:
            x = operator.apply(x)
        return x

    def power_iteration(self, x: Tensor, seed: int) -> Tensor:
        """(B, C, H, W) unit directions: an estimate of the Jacobian's top singular vector at every x."""
        generator = torch.Generator("cpu").manual_seed(seed)
        v = _unit(torch.randn(x.shape, generator=generator, dtype=torch.float64).to(x.device))
        at = x.requires_grad_()
        features = self(at)
        cotangent = torch.zeros_like(features, requires_grad=True)
        (pulled,) = torch.autograd.grad(features, at, cotangent, create_graph=True)  # J^T c, linear in c
        for _ in range(_POWER_STEPS):
            (pushed,) = torch.autograd.grad(pulled, cotangent, v, retain_graph=True)
            (v,) = torch.autograd.grad(features, at, pushed, retain_graph=True)
            v = _unit(v)
        return v.detach()

    def ascend(self, middle: Tensor, direction: Tensor, distance: float, steps: int) -> tuple[Tensor, Tensor, float]:
        """The middles and unit directions, (B, C, H, W) each, at which the quotient was largest, and the distance."""
        best = torch.zeros(len(middle), dtype=torch.float64, device=middle.device)
        best_middle, best_direction = middle.detach(), direction
        for step in range(steps):
            m, d = middle.detach().requires_grad_(), direction.detach().requires_grad_()
            half = _unit(d) * (distance / 2)
            quotient = _norms(self(m + half) - self(m - half)) / distance
            to_middle, to_direction = torch.autograd.grad(quotient.sum(), (m, d))
            with torch.no_grad():
                better = _per_image(quotient > best)
                best = torch.maximum(best, quotient.detach())
                best_middle, best_direction = (
                    torch.where(better, m, best_middle),
                    torch.where(better, d, best_direction),
                )
                rest = 1.0 - step / steps
                middle = m + _STEP * rest * distance * _unit(to_middle)
                direction = _unit(d + _TURN * rest * _unit(to_direction))
        return best_middle.detach(), _unit(best_direction.detach()), distance


def _norms(v: Tensor) -> Tensor:
    return torch.linalg.vector_norm(v.flatten(1), dim=1)


def _per_image(values: Tensor) -> Tensor:
    return values.view(-1, 1, 1, 1)


def _unit(v: Tensor) -> Tensor:
    return v / _per_image(_norms(v)).clamp_min(1e-300)
