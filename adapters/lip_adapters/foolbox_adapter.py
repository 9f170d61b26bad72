"""foolbox 3.3: attacks that look for the smallest L2 distance. They know no eps: the port pulls points into the ball.

They see the margin instead of the logits, in units of the distance that its slope suggests, so that neither the
size of the logits nor that of the distances matters. DDN takes a cross-entropy, whose gradient mixes all classes, and
its step of 1 crosses the whole neighbourhood of a point near the boundary.

Left out: CW (10 % too far after 600 forwards where many pixels are black; torchattacks has one) and the attack of
Brendel and Bethge (needs numba). adv-lib, which has DDN and FMN too, depends on visdom, which current setuptools do
not build.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from lip_adapters._common import Rendering, checked_settings, require
from lip_adapters._rivals import Contest, Margins, distance_estimate, in_units, rivals_by_logit
from lip_plugin.errors import ConfigError, close_matches
from lip_plugin.evaluate.attack import EmpiricalAttack
from lip_plugin.evaluate.view import AttackView


class _Search(NamedTuple):
    merged: bool  # one run for each target class, against the nearest rival; else one run against all of them
    bounded: bool
    settings: Mapping[str, float]
    build: Callable[[Any, Mapping[str, Any], Tensor], Any]


# FMN aims where the tangent meets zero, and stops short of a boundary that bends away: with 1, it never crossed it on
# half of the images of the demo model.
_FMN_REACH = 1.02
# DDN's first sphere over the estimate of the distance: it shrinks faster than the search turns.
_DDN_START = 1.5
# FMN comes so near that float32, in which foolbox runs, and the port's float64 disagree about the side. The port pulls
# points back in by bisection.
_BEYOND = 1e-3
# DeepFool is done with most images after some ten steps.
_DEEPFOOL_STEPS = 10


def _ddn(attacks: Any, settings: Mapping[str, Any], estimate: Tensor) -> Any:
    return attacks.DDNAttack(init_epsilon=_one_each(attacks, _DDN_START * estimate), **settings)


def _fmn(attacks: Any, settings: Mapping[str, Any], estimate: Tensor) -> Any:
    attack = attacks.L2FMNAttack(max_stepsize=_one_each(attacks, _per_image(estimate)), **settings)
    attack.project = _onto_ball
    return attack


def _deepfool(attacks: Any, settings: Mapping[str, Any], estimate: Tensor) -> Any:
    # With a number of candidates it logs to the root logger, which configures it for the whole process.
    return attacks.L2DeepFoolAttack(candidates=None, **settings)


def _one_each(attacks: Any, values: Tensor) -> Any:
    """What foolbox documents as one number for all images, and uses as a factor."""
    return attacks.ddn.ep.astensor(values)


def _onto_ball(x: Any, x0: Any, epsilon: Any) -> Any:
    """FMN's projection. That of 3.3.4 divides a norm by itself and so does nothing (points 5 % too far)."""
    delta = x.raw - x0.raw
    norm = torch.linalg.vector_norm(delta.flatten(1), dim=1).clamp_min(1e-12)
    factor = (_FMN_REACH * epsilon.raw / norm).clamp_max(1.0)
    return type(x)(x0.raw + _per_image(factor) * delta)


_SEARCHES = {
    "DDN": _Search(True, True, {"steps": 100, "gamma": 0.05, "n_target_classes": 3}, _ddn),
    "FMN": _Search(True, False, {"steps": 100, "gamma": 0.05, "n_target_classes": 3}, _fmn),
    "DeepFool": _Search(False, False, {"steps": 50, "overshoot": 0.02, "n_target_classes": 9}, _deepfool),
}


def make_attack(variant: str, settings: Mapping[str, Any]) -> EmpiricalAttack:
    """One of DDN, FMN, DeepFool.

    Settings: steps, n_target_classes (the strongest other classes, which DDN and FMN attack one by one, beginning with
    whichever is nearest), gamma (DDN, FMN: by how much the norm changes in a step), overshoot (DeepFool).
    Raises ConfigError on an unknown variant or setting, MissingDependencyError without foolbox.
    """
    library = _library()
    if variant not in _SEARCHES:
        raise ConfigError(
            f"foolbox has no attack {variant!r}; known: {', '.join(_SEARCHES)}.{close_matches(variant, _SEARCHES)}"
        )
    return _FoolboxAttack(library, variant, settings)


class _FoolboxAttack(EmpiricalAttack):
    minimum_norm = True

    def __init__(self, library: Any, kind: str, settings: Mapping[str, Any]) -> None:
        self.name = f"foolbox:{kind}"
        self._library, self._search = library, _SEARCHES[kind]
        own = checked_settings(self.name, self._search.settings, settings)
        if not 0 < own.get("gamma", 0.5) < 1:
            raise ConfigError(f"{self.name}: gamma={own['gamma']!r}; expected a number between 0 and 1")
        steps = own["steps"] if self._search.merged else min(own["steps"], _DEEPFOOL_STEPS)
        self.cost = float(steps * own["n_target_classes"])
        self._targets: int = own.pop("n_target_classes")
        self._settings = own

    def run(self, model: AttackView, x: Tensor, y: Tensor, *, eps: float, seed: int) -> Tensor:
        """The closest point that foolbox finds for each image, at any distance; the image where it finds none."""
        if len(x) == 0 or eps == 0:
            return x
        network, start, y = Rendering(model, x), x.float(), y.long()
        rivals = rivals_by_logit(network, start, y)
        best, distance = start, torch.full((len(x),), torch.inf, device=x.device)
        for chosen in self._rounds(rivals):
            found = self._searched(Margins(network, y, chosen), start)
            points, fooled = _a_little_beyond(network, start, y, found)
            reach = torch.linalg.vector_norm((points - start).flatten(1), dim=1)
            closer = fooled & (reach < distance)
            best = torch.where(_per_image(closer), points, best)
            distance = torch.where(closer, reach, distance)
        return best

    def _rounds(self, rivals: Tensor) -> list[Tensor]:
        """The rivals (B, R) of each run. An untargeted one mostly meets the strongest, so the others follow."""
        count = min(self._targets, rivals.shape[1])
        if not self._search.merged:
            return [rivals[:, :count]]
        return [rivals, *(rivals[:, k : k + 1] for k in range(1, count))]

    def _searched(self, margins: Margins, x: Tensor) -> Tensor:
        library = self._library
        unit, estimate = in_units(distance_estimate(margins, x))
        contest = Contest(margins, unit, merged=self._search.merged, bounded=self._search.bounded)
        white = float(torch.ones_like(estimate[:1]) / unit)  # the same division as the images': none lies above it
        attack = self._search.build(library.attacks, self._settings, estimate)
        network = library.PyTorchModel(contest, bounds=(0.0, white), device=x.device)
        labels = torch.zeros_like(margins.y)
        points: Tensor = attack.run(network, x / unit, library.Misclassification(labels))
        return (points.detach() * unit).clamp(0.0, 1.0)


def _a_little_beyond(network: nn.Module, x: Tensor, y: Tensor, found: Tensor) -> tuple[Tensor, Tensor]:
    """The points, a thousandth of the way further where that is misclassified too; and what is misclassified (B,)."""
    further = (found + _BEYOND * (found - x)).clamp(0.0, 1.0)
    with torch.no_grad():
        fooled, still = (network(points).argmax(dim=1) != y for points in (found, further))
    return torch.where(_per_image(still), further, found), fooled | still


def _per_image(values: Tensor) -> Tensor:
    return values.view(-1, 1, 1, 1)


def _library() -> Any:
    with warnings.catch_warnings(), _without_git():
        # 3.3.4 imports one filter, which nothing here uses, from a namespace that SciPy is about to remove.
        warnings.filterwarnings("ignore", message=r".*`scipy\.ndimage\.filters`", category=DeprecationWarning)
        return require("foolbox", "foolbox")


@contextmanager
def _without_git() -> Generator[None]:
    """Foolbox imports GitPython for its zoo, which raises where no git is installed, unless told not to."""
    key = "GIT_PYTHON_REFRESH"
    before = os.environ.get(key)
    os.environ.setdefault(key, "quiet")
    try:
        yield
    finally:
        if before is None:
            del os.environ[key]
