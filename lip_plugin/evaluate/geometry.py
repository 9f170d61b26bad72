"""Points near an image: their exact distance, into the ball and the box, and along their line back to the boundary."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Lead = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""(points (B, C, H, W), labels (B,)) -> (B,) bool: misclassified, and by how much the label leads (B,) float64."""

_PROJECTIONS = 12
_TRIALS = 20
_CLOSE = 2.0**-20


def distances(points: Tensor, x: Tensor) -> Tensor:
    """(B,) L2 distances of the tensors as they are, in float64."""
    return torch.linalg.vector_norm((points.double() - x.double()).flatten(1), dim=1)


def projected(x: Tensor, candidates: Tensor, eps: Tensor) -> Tensor:
    """Into the box, then towards x until the distance of the *stored* point is at most eps (B,)."""
    delta = torch.nan_to_num(candidates.double(), nan=-1.0).clamp(0.0, 1.0) - x.double()
    reach = torch.linalg.vector_norm(delta.flatten(1), dim=1)
    scale = (eps / reach.clamp_min(1e-300)).clamp_max(1.0)
    points = x
    for attempt in range(_PROJECTIONS):
        points = (x.double() + per_image(scale, x) * delta).clamp(0.0, 1.0).to(x.dtype)
        too_far = distances(points, x) > eps
        # Rounding to float32 moves a point by up to 1e-7 sqrt(pixels), which is a lot of a small eps.
        scale = torch.where(too_far, scale * (1.0 - 1e-7 * 4.0**attempt), scale)
        if not bool(too_far.any()):
            break
    return points


def pulled_in(lead: Lead, x: Tensor, y: Tensor, points: Tensor, success: Tensor) -> Tensor:
    """The points, those of ``success`` (B,) moved towards their image, to the boundary or close behind it.

    A point on the line between them that is misclassified and closer takes its place; the search follows the secant of
    the label's lead, from both sides (Illinois), until each lies within a millionth of one that is classified rightly.
    """
    rows = success.nonzero().squeeze(1)
    if len(rows) == 0:
        return points
    start, end, labels, best = x[rows], points[rows], y[rows], points[rows]
    line = end.double() - start.double()
    low, high = line.new_zeros(len(rows)), line.new_ones(len(rows))
    (_, ahead), (_, behind) = lead(start, labels), lead(end, labels)
    for _ in range(_TRIALS):
        middle = _between(low, high, ahead, behind)
        trial = (start.double() + per_image(middle, x) * line).to(x.dtype)
        hit, value = lead(trial, labels)
        ahead, behind = torch.where(hit, ahead / 2, value), torch.where(hit, value, behind / 2)
        low, high = torch.where(hit, low, middle), torch.where(hit, middle, high)
        closer = hit & (distances(trial, start) < distances(best, start))
        best = torch.where(per_image(closer, x), trial, best)
        if bool((high - low <= _CLOSE * high).all()):
            break
    return points.index_put((rows,), best)


def _between(low: Tensor, high: Tensor, ahead: Tensor, behind: Tensor) -> Tensor:
    """Where the secant of the lead crosses zero, a little further out; the middle where that says nothing."""
    width = high - low
    crossing = low + width * (ahead / (ahead - behind))
    further = crossing + _CLOSE / 4 * high
    useful = torch.isfinite(further) & (ahead > 0) & (behind <= 0) & (further > low) & (further < high)
    return torch.where(useful, further, low + width / 2)


def per_image(values: Tensor, x: Tensor) -> Tensor:
    """(B,) values as a factor of images x (B, ...)."""
    return values.view(-1, *[1] * (x.dim() - 1))
