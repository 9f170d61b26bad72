"""Every point of a grid of grey levels, classified exactly, against radii."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

import torch
from torch import Tensor

import lip_plugin as lp
from lip_plugin.network import float64_logits

from .exact import exact_logits, fractions
from .small_networks import images

LEVELS = {2: 256, 3: 32, 4: 16}
"""Grey levels less one, by the number of pixels: 36,000 to 84,000 points."""


@dataclass(frozen=True)
class Grid:
    """Integer points (N, D) in units of 1/levels with their logits (N, K), and images (M, C, H, W) among them."""

    levels: int
    points: Tensor
    logits: Tensor
    model: lp.CertifiedClassifier
    x: Tensor

    def contradictions(self, certificate: lp.Certificate, *, factor: float = 1.0) -> int:
        """Images with a grid point strictly inside the radius that does not have the predicted label alone."""
        count = 0
        of_images = zip(self.x, certificate.prediction.tolist(), certificate.radius.tolist(), strict=True)
        for image, label, radius in of_images:
            centre = (image.flatten().double() * self.levels).long()
            square = ((self.points - centre) ** 2).sum(1)
            limit = math.ceil((Fraction(radius * factor) * self.levels) ** 2)  # of integers: < limit iff below it
            count += bool((strict_gaps(self.logits[square < limit], label) <= 0).any())
        return count


def strict_gaps(logits: Tensor, label: int) -> Tensor:
    """(N,) the label's logit less the largest other."""
    others = logits.clone()
    others[:, label] = -torch.inf
    return logits[:, label] - others.amax(1)


def full_grid(model: lp.CertifiedClassifier, seed: int) -> Grid:
    """For weights of a few bits, so that float64 evaluates every point exactly; held against fractions on some."""
    pixels = math.prod(model.input_shape)
    levels = LEVELS[pixels]
    points = torch.cartesian_prod(*[torch.arange(levels + 1)] * pixels)
    logits = float64_logits(model, (points.double() / levels).view(-1, *model.input_shape))
    for index in torch.randint(len(points), (20,), generator=torch.Generator().manual_seed(seed)).tolist():
        exact = exact_logits(model, [Fraction(value, levels) for value in points[index].tolist()])
        assert exact == fractions(logits[index])
    return Grid(levels, points, logits, model, images(model.input_shape, 16, seed, levels=levels))
