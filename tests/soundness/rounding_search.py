"""A search for points strictly inside a radius that a floating-point program misclassifies.

After Jin, Ohrimenko and Rubinstein, "Getting a-Round Guarantees: Floating-Point Attacks on Certified Robustness"
(arXiv 2205.10159): walk to the end of the radius in the worst direction, then look through the floating-point
neighbours of that point. A radius that is right in real arithmetic falls where the program's rounding, or the
radius's own, was left out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

import torch
from torch import Tensor

from .exact import fractions, square_distance

Program = Callable[[Tensor], Tensor]
"""(B, C, H, W) float64 -> logits (B, K); it rounds its input itself, where it is written for a shorter format."""

_STEPS = (0, 1, 3, 10, 40, 160)
_ROUNDS, _NEIGHBOURS = 4, 96


@dataclass(frozen=True)
class RoundingSearch:
    """The search against one program.

    ``slopes`` is a differentiable float64 stand-in for the program, which gives the directions. ``stored`` is the
    format to which the program rounds images: neighbours are those of that format. With ``pull`` each of them is
    replaced by the float64 point nearest to the image that still rounds to it, which is as good for the program.
    """

    program: Program
    slopes: Program
    stored: torch.dtype
    pull: bool = True

    def __call__(self, image: Tensor, label: int, radius: float, *, seed: int = 0) -> Tensor | None:
        """A misclassified point (C, H, W) float64 at a distance of less than radius, in fractions; or None."""
        generator = torch.Generator().manual_seed(seed)
        image = image.double()
        for centre in self._ends(image, label, radius):
            for round_ in range(_ROUNDS):
                points = self._neighbours(image, centre, radius, round_, generator)
                points = points[(points - image).flatten(1).norm(dim=1) <= radius * (1 + 1e-12)]
                if not len(points):
                    break
                gaps = _adverse(self.program(points).double(), label)
                for point in points[gaps >= 0]:
                    if self._misclassified(point, label) and strictly_inside(point, image, radius):
                        return point
                centre = points[gaps.argmax()]
        return None

    def _misclassified(self, point: Tensor, label: int) -> bool:
        """Once more on its own: batches may be summed in another order."""
        return int(self.program(point[None]).argmax(1)) != label

    def _ends(self, image: Tensor, label: int, radius: float) -> list[Tensor]:
        """The ends of the walks towards the other classes, the most promising first; corrected on the way."""
        classes = self.slopes(image[None]).shape[1]
        ends: list[tuple[float, Tensor]] = []
        for other in range(classes):
            point = image
            for _ in range(3 if other != label else 0):
                start = point.clone().requires_grad_(True)
                logits = self.slopes(start[None])[0]
                (gradient,) = torch.autograd.grad(logits[other] - logits[label], start)
                length = float(gradient.norm())
                if length > 0:
                    point = image + gradient * (radius * (1 - 1e-15) / length)
            if point is not image:
                logits = self.slopes(point[None])[0]
                ends.append((float(logits[other] - logits[label]), point))
        return [point for _, point in sorted(ends, key=lambda end: -end[0])]

    def _neighbours(
        self, image: Tensor, centre: Tensor, radius: float, round_: int, generator: torch.Generator
    ) -> Tensor:
        """(N, C, H, W) float64: up to k units in the last place of ``stored`` away, k larger on the later rows."""
        shape = (_NEIGHBOURS, *centre.shape)
        rounded = centre.to(self.stored)
        unit = (torch.nextafter(rounded, torch.full_like(rounded, torch.inf)) - rounded).double()
        reach = torch.tensor(_STEPS, dtype=torch.float64).repeat_interleave(_NEIGHBOURS // len(_STEPS))
        reach = reach.view(-1, *[1] * centre.dim())
        noise = torch.rand(shape, generator=generator, dtype=torch.float64) * 2 - 1
        moved = centre + (noise * (reach + 0.5)).round() * unit
        if round_ % 2:  # back onto the sphere: large steps lead out of the ball
            away = moved - image
            moved = image + away * (radius / away.flatten(1).norm(dim=1).clamp_min(1e-300)).view_as(reach)
        stored = moved.to(self.stored)
        return nearest_that_rounds_to(stored, image) if self.pull else stored.double()


def _adverse(logits: Tensor, label: int) -> Tensor:
    """(N,) the largest other logit less the label's."""
    others = logits.clone()
    others[:, label] = -torch.inf
    return others.amax(1) - logits[:, label]


def nearest_that_rounds_to(stored: Tensor, image: Tensor) -> Tensor:
    """The float64 points nearest to the image (C, H, W), entry by entry, that round to ``stored`` (N, C, H, W)."""
    if stored.dtype == torch.float64:
        return stored
    wide = stored.double()
    above = (torch.nextafter(stored, torch.full_like(stored, torch.inf)).double() - wide) / 2
    below = (wide - torch.nextafter(stored, torch.full_like(stored, -torch.inf)).double()) / 2
    within = 1 - 2.0**-20  # the very middle rounds to the even neighbour
    return image.expand_as(wide).clamp(wide - within * below, wide + within * above)


def strictly_inside(point: Tensor, image: Tensor, radius: float) -> bool:
    """||point - image||_2 < radius in exact arithmetic."""
    return square_distance(fractions(point), fractions(image)) < Fraction(radius) ** 2
