"""The audit: certified images are attacked too, and every adversarial distance is held against its image's radius."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lip_plugin.evaluate.attack import EmpiricalAttack
from lip_plugin.evaluate.attacks import get_attack
from lip_plugin.evaluate.results import AuditResult, Points

_FEWEST_CLASSES_OF_APGD_T = 4


def audit_stages(num_classes: int) -> tuple[EmpiricalAttack, ...]:
    """APGD-CE and APGD-T; FAB-T instead of the latter below 4 classes, where its loss does not exist."""
    targeted = "apgd-t" if num_classes >= _FEWEST_CLASSES_OF_APGD_T else "fab-t"
    return get_attack("autoattack:apgd-ce"), get_attack(f"autoattack:{targeted}")


def audit_mask(certified: Tensor, radius: Tensor, limit: int | None) -> Tensor:
    """(N,) bool: the ``limit`` certified images with the smallest radii, the ones nearest to a contradiction."""
    if limit is None:
        return certified
    order = radius.masked_fill(~certified, torch.inf).argsort(stable=True)[:limit]
    return torch.zeros_like(certified).index_fill(0, order, True) & certified


def contradictions(radius: Tensor, distance: Tensor, attack: Sequence[str]) -> tuple[str, ...]:
    """One line per image with an adversarial point strictly inside its own radius. Exact comparison, no tolerance.

    ``distance`` (N,) float64 is that of the closest point that refutes what the radius speaks of, infinite without one;
    ``attack`` names who found it.
    """
    return tuple(
        f"unsound certificate: image {index} has certified radius {float(radius[index]):.6g}, but "
        f"{attack[index]} found a misclassified point at distance {float(distance[index]):.6g}"
        for index in (distance < radius).nonzero().squeeze(1).tolist()
    )


def audit_result(points: Points, attacked_certified: int, broken: int) -> AuditResult:
    """With the number of images whose radius was contradicted."""
    radius, distance = points.certificate.radius, points.refuting_distance
    comparable = torch.isfinite(distance) & (radius > 0)
    ratios = distance[comparable] / radius[comparable]
    smallest = float(ratios.min()) if len(ratios) else None
    return AuditResult(attacked_certified, broken, smallest)
