"""The port for empirical attacks: adapters propose points, this file decides what they are worth."""

from __future__ import annotations

import dataclasses
import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from lip_plugin.certificates import check_images, check_labels
from lip_plugin.errors import ConfigError
from lip_plugin.evaluate.geometry import distances, per_image, projected, pulled_in
from lip_plugin.evaluate.guard import restored_state
from lip_plugin.evaluate.programs import Judge, ProgramName, names_of
from lip_plugin.evaluate.view import AttackView
from lip_plugin.network import CertifiedClassifier
from lip_plugin.types import parse_eps


@dataclass(frozen=True)
class AttackResult:
    """What survived the re-check, (B, ...) in the order of the images.

    ``adversarial`` equals the image where the attack failed; ``success`` (B,) bool; ``distance`` (B,)
    float64, the L2 distance of the adversarial point, infinite where the attack failed; ``by`` names the
    attack that found the point ("" where none did), ``program`` who misclassifies it, "float64" or the "forward" alone;
    ``forwards`` counts images passed through the model. ``nearest`` (B,) float64 is the smallest distance at which a
    minimum-norm attack saw a misclassified point, however far beyond eps, infinite without one; no claim is made of it.
    """

    adversarial: Tensor
    success: Tensor
    distance: Tensor
    by: tuple[str, ...]
    program: tuple[str, ...]
    nearest: Tensor
    forwards: int


class EmpiricalAttack(ABC):
    """An untargeted L2 attack. Subclasses implement `run`; nothing that `run` claims is believed.

    ``cost`` orders attacks from cheap to expensive (image-forwards per surviving image, roughly).
    ``minimum_norm``: it looks for the closest point and knows no eps, so that one run answers every radius.
    ``within``: as a stage of others it is run only on images of which those before it saw a misclassified point within
    this multiple of eps.
    """

    name: str
    cost: float = 1.0
    minimum_norm: bool = False
    within: float = math.inf

    @abstractmethod
    def run(self, model: AttackView, x: Tensor, y: Tensor, *, eps: float, seed: int) -> Tensor:
        """Candidate points (B, C, H, W) for images x in [0,1] with labels y, B >= 1.

        ``model`` is a module that maps images to logits, differentiable, in eval mode; call it at will.
        Random draws must depend on ``seed`` alone.
        """

    def run_each(self, model: AttackView, x: Tensor, y: Tensor, *, eps: Tensor, seed: int) -> Tensor:
        """`run` with a radius for each image, eps (B,) float64: here one radius after the other.

        Override it where one batch can hold several radii: few images are attacked in no less time than many.
        """
        if self.minimum_norm and len(x):
            return self.run(model, x, y, eps=float(eps.max()), seed=seed)
        points = x.clone()
        for radius in eps.unique().tolist():
            rows = (eps == radius).nonzero().squeeze(1)
            found = self.run(model, x[rows], y[rows], eps=radius, seed=seed)
            if found.shape != x[rows].shape:
                raise _misshapen(self, found, x[rows])
            points[rows] = found.detach().to(points)
        return points

    def is_worth(self, nearest: Tensor, eps: float | Tensor) -> Tensor:
        """(B,) bool, from the distances ``nearest`` (B,) at which others saw a misclassified point: see ``within``."""
        return nearest <= (eps * self.within if math.isfinite(self.within) else math.inf)

    @property
    def stages(self) -> tuple[EmpiricalAttack, ...]:
        """The attacks this one consists of, each run on what the ones before it left standing."""
        return (self,)

    @final
    def __call__(
        self,
        model: CertifiedClassifier,
        x: Tensor,
        y: Tensor,
        *,
        eps: float | Tensor,
        seed: int = 0,
        program: ProgramName = "forward",
    ) -> AttackResult:
        """Attack and re-check: project into ball and box in float64, re-evaluate, then count.

        ``eps`` is one radius, or one for each image (B,). ``program`` is attacked: ``model(x)`` itself, or its
        operators in float64. A point counts where either of the two misclassifies it at an exactly computed distance of
        at most eps. No tolerance. Points that count are then pulled towards their image, so that ``distance`` is close
        to the smallest along that line. Raises DataError and ConfigError on bad input.
        """
        radius = _checked(model, x, y, eps)
        x = x.detach()  # no attack may send gradients to the caller's images
        best = _nothing_found(x)
        forwards = 0
        for stage in self.stages:
            standing = (~best.success & stage.is_worth(best.nearest, radius)).nonzero().squeeze(1)
            if len(standing):
                found = _run_stage(stage, model, x[standing], y[standing], radius[standing], seed, program)
                forwards += found.forwards
                best = _merged(best, standing, found, stage.name)
        return dataclasses.replace(best, forwards=forwards)


def _checked(model: CertifiedClassifier, x: Tensor, y: Tensor, eps: float | Tensor) -> Tensor:
    """The radii (B,) float64, beside the images."""
    check_images(model, x)
    check_labels(model, x, y)
    if x.dtype != model.dtype:
        raise ConfigError(f"images are {x.dtype}; an attack runs in the model's own {model.dtype}")
    if not isinstance(eps, Tensor):
        return torch.full((len(x),), parse_eps(eps), dtype=torch.float64, device=x.device)
    radius = eps.detach().to(x.device, torch.float64)
    if radius.shape != (len(x),) or not bool(((radius >= 0) & radius.isfinite()).all()):
        raise ConfigError(f"eps {tuple(eps.shape)} for {len(x)} images; expected a radius >= 0, or one for each image")
    return radius


def _nothing_found(x: Tensor) -> AttackResult:
    failed = torch.zeros(len(x), dtype=torch.bool, device=x.device)
    distance = torch.full((len(x),), torch.inf, dtype=torch.float64, device=x.device)
    nobody = ("",) * len(x)
    return AttackResult(x.clone(), failed, distance, nobody, nobody, distance.clone(), 0)


def _run_stage(
    stage: EmpiricalAttack,
    model: CertifiedClassifier,
    x: Tensor,
    y: Tensor,
    eps: Tensor,
    seed: int,
    program: ProgramName,
) -> AttackResult:
    with restored_state(seed, model), torch.inference_mode(False), torch.enable_grad():
        view = AttackView(model, program=program)
        candidates = stage.run_each(view, x.clone(), y.clone(), eps=eps.clone(), seed=seed).detach()
    if candidates.shape != x.shape:
        raise _misshapen(stage, candidates, x)
    candidates = candidates.to(x.device)
    with torch.no_grad():
        points = projected(x, candidates, eps)
        judge, near = Judge(model), distances(points, x) <= eps
        by_float64, by_forward = (wrong & near for wrong in judge(points, y))
        success = by_float64 | by_forward
        points = torch.where(per_image(success, x), points, x)
        # Where float64 is wrong it stays wrong: rounding next to a boundary must not decide.
        points = pulled_in(judge.lead, x, y, points, by_float64)
        points = pulled_in(judge.lead_of_forward, x, y, points, by_forward)
        distance = distances(points, x).masked_fill(~success, torch.inf)
        by_float64 = judge.by_float64(points, y) & success  # a point of the forward may have come to fool both
        nearest = torch.minimum(distance, _reached(judge, x, y, candidates)) if stage.minimum_norm else distance
    by = tuple(stage.name if hit else "" for hit in success.tolist())
    return AttackResult(points, success, distance, by, names_of(by_float64, success), nearest, view.forwards)


def _misshapen(stage: EmpiricalAttack, found: Tensor, x: Tensor) -> ConfigError:
    return ConfigError(f"attack {stage.name!r} returned shape {tuple(found.shape)} for {tuple(x.shape)}")


def _reached(judge: Judge, x: Tensor, y: Tensor, candidates: Tensor) -> Tensor:
    """(B,) float64: how far the candidates are that float64 misclassifies, infinite for the others."""
    points = torch.nan_to_num(candidates, nan=-1.0).clamp(0.0, 1.0).to(x.dtype)
    return distances(points, x).masked_fill(~judge.by_float64(points, y), torch.inf)


def _merged(best: AttackResult, index: Tensor, found: AttackResult, name: str) -> AttackResult:
    hits = index[found.success]
    adversarial, success, distance = best.adversarial.clone(), best.success.clone(), best.distance.clone()
    adversarial[hits], success[hits] = found.adversarial[found.success], True
    distance[hits] = found.distance[found.success]
    nearest = best.nearest.index_put((index,), torch.minimum(best.nearest[index], found.nearest))
    broken = set(hits.tolist())
    by = tuple(name if position in broken else label for position, label in enumerate(best.by))
    programs = dict(zip(index.tolist(), found.program, strict=True))
    program = tuple(programs[at] if at in broken else label for at, label in enumerate(best.program))
    return AttackResult(adversarial, success, distance, by, program, nearest, 0)
