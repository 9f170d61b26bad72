"""The port for empirical attacks: adapters propose points, this file decides what they are worth."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from lip_plugin.certificates import check_images, check_labels
from lip_plugin.errors import ConfigError
from lip_plugin.evaluate.guard import restored_state
from lip_plugin.evaluate.programs import Judge, ProgramName, names_of
from lip_plugin.evaluate.view import AttackView
from lip_plugin.network import CertifiedClassifier
from lip_plugin.types import parse_eps

_BISECTIONS = 20
_PROJECTIONS = 12


@dataclass(frozen=True)
class AttackResult:
    """What survived the re-check, (B, ...) in the order of the images.

    ``adversarial`` equals the image where the attack failed; ``success`` (B,) bool; ``distance`` (B,)
    float64, the L2 distance of the adversarial point, infinite where the attack failed; ``by`` names the
    attack that found the point ("" where none did), ``program`` who misclassifies it, "float64" or the "forward" alone;
    ``forwards`` counts images passed through the model.
    """

    adversarial: Tensor
    success: Tensor
    distance: Tensor
    by: tuple[str, ...]
    program: tuple[str, ...]
    forwards: int


class EmpiricalAttack(ABC):
    """An untargeted L2 attack. Subclasses implement `run`; nothing that `run` claims is believed.

    ``cost`` orders attacks from cheap to expensive (image-forwards per surviving image, roughly).
    """

    name: str
    cost: float = 1.0

    @abstractmethod
    def run(self, model: AttackView, x: Tensor, y: Tensor, *, eps: float, seed: int) -> Tensor:
        """Candidate points (B, C, H, W) for images x in [0,1] with labels y, B >= 1.

        ``model`` is a module that maps images to logits, differentiable, in eval mode; call it at will.
        Random draws must depend on ``seed`` alone.
        """

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
        eps: float,
        seed: int = 0,
        program: ProgramName = "forward",
    ) -> AttackResult:
        """Attack and re-check: project into ball and box in float64, re-evaluate, then count.

        ``program`` is attacked: ``model(x)`` itself, or its operators in float64. A point counts where either of the
        two misclassifies it at an exactly computed distance of at most eps. No tolerance. Points that count
        are then pulled towards their image by bisection, so that ``distance`` is close to the smallest
        along that line. Raises DataError and ConfigError on bad input.
        """
        eps = _checked(model, x, y, eps)
        x = x.detach()  # no attack may send gradients to the caller's images
        best = _nothing_found(x)
        forwards = 0
        for stage in self.stages:
            standing = (~best.success).nonzero().squeeze(1)
            if len(standing) == 0:
                break
            found, spent = _run_stage(stage, model, x[standing], y[standing], eps, seed, program)
            forwards += spent
            best = _merged(best, standing, found, stage.name)
        return dataclasses.replace(best, forwards=forwards)


def _checked(model: CertifiedClassifier, x: Tensor, y: Tensor, eps: float) -> float:
    check_images(model, x)
    check_labels(model, x, y)
    if x.dtype != model.dtype:
        raise ConfigError(f"images are {x.dtype}; an attack runs in the model's own {model.dtype}")
    return parse_eps(eps)


def _nothing_found(x: Tensor) -> AttackResult:
    failed = torch.zeros(len(x), dtype=torch.bool, device=x.device)
    distance = torch.full((len(x),), torch.inf, dtype=torch.float64, device=x.device)
    nobody = ("",) * len(x)
    return AttackResult(x.clone(), failed, distance, nobody, nobody, 0)


def _run_stage(
    stage: EmpiricalAttack,
    model: CertifiedClassifier,
    x: Tensor,
    y: Tensor,
    eps: float,
    seed: int,
    program: ProgramName,
) -> tuple[AttackResult, int]:
    with restored_state(seed, model), torch.inference_mode(False), torch.enable_grad():
        view = AttackView(model, program=program)
        candidates = stage.run(view, x.clone(), y.clone(), eps=eps, seed=seed).detach()
    if candidates.shape != x.shape:
        raise ConfigError(f"attack {stage.name!r} returned shape {tuple(candidates.shape)} for {tuple(x.shape)}")
    with torch.no_grad():
        points = _projected(x, candidates.to(x.device), eps)
        judge, near = Judge(model), distances(points, x) <= eps
        by_float64, by_forward = (wrong & near for wrong in judge(points, y))
        success = by_float64 | by_forward
        points = torch.where(_per_image(success, x), points, x)
        # Where float64 is wrong it stays wrong: rounding next to a boundary must not decide.
        points = _pulled_in(judge.by_float64, x, y, points, by_float64)
        points = _pulled_in(judge.by_forward, x, y, points, by_forward)
        distance = distances(points, x).masked_fill(~success, torch.inf)
        by_float64 = judge.by_float64(points, y) & success  # a point of the forward may have come to fool both
        programs = names_of(by_float64, success)
    by = tuple(stage.name if hit else "" for hit in success.tolist())
    return AttackResult(points, success, distance, by, programs, view.forwards), view.forwards


def _merged(best: AttackResult, index: Tensor, found: AttackResult, name: str) -> AttackResult:
    hits = index[found.success]
    adversarial, success, distance = best.adversarial.clone(), best.success.clone(), best.distance.clone()
    adversarial[hits], success[hits] = found.adversarial[found.success], True
    distance[hits] = found.distance[found.success]
    broken = set(hits.tolist())
    by = tuple(name if position in broken else label for position, label in enumerate(best.by))
    programs = dict(zip(index.tolist(), found.program, strict=True))
    program = tuple(programs[at] if at in broken else label for at, label in enumerate(best.program))
    return AttackResult(adversarial, success, distance, by, program, 0)


def _per_image(values: Tensor, x: Tensor) -> Tensor:
    return values.view(-1, *[1] * (x.dim() - 1))


def distances(points: Tensor, x: Tensor) -> Tensor:
    """(B,) L2 distances of the tensors as they are, in float64."""
    return torch.linalg.vector_norm((points.double() - x.double()).flatten(1), dim=1)


def _projected(x: Tensor, candidates: Tensor, eps: float) -> Tensor:
    """Into the box, then towards x until the distance of the *stored* point is at most eps."""
    delta = torch.nan_to_num(candidates.double(), nan=-1.0).clamp(0.0, 1.0) - x.double()
    reach = torch.linalg.vector_norm(delta.flatten(1), dim=1)
    scale = (eps / reach.clamp_min(1e-300)).clamp_max(1.0)
    points = x
    for attempt in range(_PROJECTIONS):
        points = (x.double() + _per_image(scale, x) * delta).clamp(0.0, 1.0).to(x.dtype)
        too_far = distances(points, x) > eps
        # Rounding to float32 moves a point by up to 1e-7 sqrt(pixels), which is a lot of a small eps.
        scale = torch.where(too_far, scale * (1.0 - 1e-7 * 4.0**attempt), scale)
        if not bool(too_far.any()):
            break
    return points


def _pulled_in(
    misclassifies: Callable[[Tensor, Tensor], Tensor], x: Tensor, y: Tensor, points: Tensor, success: Tensor
) -> Tensor:
    """The closest misclassified point that bisection finds between image and adversarial point."""
    if not bool(success.any()):
        return points
    start, end, labels = x[success].double(), points[success].double(), y[success]
    low, high = (
        torch.zeros(len(end), dtype=torch.float64, device=x.device),
        torch.ones(len(end), device=x.device).double(),
    )
    best = points[success]
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        trial = (start + _per_image(middle, x) * (end - start)).to(x.dtype)
        hit = misclassifies(trial, labels)
        low, high = torch.where(hit, low, middle), torch.where(hit, middle, high)
        closer = hit & (distances(trial, start) < distances(best, start))
        best = torch.where(_per_image(closer, x), trial, best)
    return points.index_put((success.nonzero().squeeze(1),), best)
