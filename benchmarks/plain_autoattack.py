"""AutoAttack as pyautoattack runs it by itself: one radius, one target, one part after the other."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from pyautoattack import autopgd_base, fab_pt, square
from torch import Tensor

import lip_plugin as lp
from lip_adapters._common import Rendering
from lip_plugin.evaluate.view import AttackView

STANDARD = ("apgd-ce", "apgd-t", "fab-t", "square")


def broken(
    model: lp.CertifiedClassifier,
    x: Tensor,
    y: Tensor,
    eps: float,
    *,
    parts: Iterable[str] = STANDARD,
    n_iter: int = 100,
    n_queries: int = 5000,
) -> Tensor:
    """(B,) bool: images whose point lies within eps, a part being run on what the ones before it left standing."""
    fallen = model(x).argmax(dim=1) != y
    for part in parts:
        rows = (~fallen).nonzero().squeeze(1)
        if len(rows) == 0:
            break
        images, labels = x[rows], y[rows]
        attack = _attack(part, Rendering(AttackView(model), images), model.num_classes, eps, n_iter, n_queries)
        points = attack.perturb(images.clone(), labels.clone()).to(x.dtype).clamp(0, 1)
        with torch.no_grad():
            near = torch.linalg.vector_norm((points - images).double().flatten(1), dim=1) <= eps * (1 + 1e-6)
            fallen[rows] |= near & (model(points).argmax(dim=1) != labels)
    return fallen


def _attack(part: str, network: Any, classes: int, eps: float, n_iter: int, n_queries: int) -> Any:
    shared: dict[str, Any] = {"norm": "L2", "eps": eps, "seed": 0, "device": torch.device("cpu")}
    if part == "square":
        return square.SquareAttack(network, n_queries=n_queries, p_init=0.8, resc_schedule=False, **shared)
    shared |= {"n_iter": n_iter, "n_restarts": 1}
    targets = {"n_target_classes": min(9, classes - 1)}
    if part == "fab-t":
        return fab_pt.FABAttack_PT(network, targeted=True, **targets, **shared)
    if part == "apgd-t":
        return autopgd_base.APGDAttack_targeted(network, eot_iter=1, rho=0.75, **targets, **shared)
    return autopgd_base.APGDAttack(network, loss="ce", eot_iter=1, rho=0.75, **shared)
