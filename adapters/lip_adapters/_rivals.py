"""Margins over chosen rival classes, as networks that minimum-norm attacks take, in units of the expected distance."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

# In units of the median distance: none of an image counts as nearer or farther than this at the start.
_NEAREST, _FARTHEST = 1e-3, 1e3


class Margins(nn.Module):
    """(B, C, H, W) images -> (B, R) logits of the labels minus those of the rivals (B, R), image by image."""

    def __init__(self, network: nn.Module, y: Tensor, rivals: Tensor) -> None:
        super().__init__()
        self.network, self.y, self.rivals = network, y, rivals
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        logits = self.network(x)
        return logits.gather(1, self.y[:, None]) - logits.gather(1, self.rivals)


class Contest(nn.Module):
    """Class 0 is the label, the others are its rivals: (B, C, H, W) images divided by ``unit`` -> logits.

    (B, 1 + R) logits; ``merged`` (B, 2), the strongest rival alone; ``bounded`` squashes them into (-1, 1),
    so that a cross-entropy does not saturate however large or small a margin is, and does not turn its gradient.
    """

    def __init__(self, margins: Margins, unit: float, *, merged: bool, bounded: bool) -> None:
        super().__init__()
        self.margins, self.unit, self.merged, self.bounded = margins, unit, merged, bounded
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        ahead = -self.margins(x * self.unit)
        if self.merged:
            ahead = ahead.amax(dim=1, keepdim=True)
        if self.bounded:
            ahead = nn.functional.softsign(ahead)
        return torch.cat([torch.zeros_like(ahead[:, :1]), ahead], dim=1)


def rivals_by_logit(network: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """(B, K - 1): the classes other than the label, the strongest first."""
    with torch.no_grad():
        logits: Tensor = network(x)
    return logits.scatter(1, y[:, None], -torch.inf).argsort(dim=1, descending=True, stable=True)[:, :-1]


def distance_estimate(margins: Margins, x: Tensor) -> Tensor:
    """(B,) how far the smallest margin's tangent is from 0, at most the box's diagonal. Proves nothing."""
    x = x.detach().requires_grad_(True)
    smallest = margins(x).amin(dim=1)
    (gradient,) = torch.autograd.grad(smallest.sum(), x)
    slope = torch.linalg.vector_norm(gradient.flatten(1), dim=1)
    diagonal = math.sqrt(x[0].numel())
    return torch.where(slope > 0, smallest.detach().abs() / slope, diagonal).clamp_max(diagonal)


def in_units(estimate: Tensor) -> tuple[float, Tensor]:
    """The median estimate as a unit of length, a float32, and the estimates (B,) in it, within 1e-3 and 1e3."""
    unit = float(estimate.median().clamp_min(1e-6))
    return unit, (estimate / unit).clamp(_NEAREST, _FARTHEST)
