"""Losses by name, fed with estimates of the Lipschitz constants they need and no more."""

from __future__ import annotations

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor

from lip_plugin.losses import emma_loss, gloro_trades_loss, logit_annealing_loss, margin_loss
from lip_plugin.models import CertifiableModel
from lip_plugin.train.estimates import EstimateState, label_lipschitz_estimate, pair_lipschitz_estimate

Objective = Callable[[CertifiableModel, EstimateState, Tensor, Tensor, float], Tensor]
"""(model, estimates, logits (B, K), labels (B,), eps) -> scalar loss."""


def _emma(model: CertifiableModel, state: EstimateState, logits: Tensor, labels: Tensor, eps: float) -> Tensor:
    rows = label_lipschitz_estimate(model, state, labels)
    return emma_loss(logits, labels, pair_lipschitz=rows, eps=eps)


def _margin(model: CertifiableModel, state: EstimateState, logits: Tensor, labels: Tensor, eps: float) -> Tensor:
    rows = label_lipschitz_estimate(model, state, labels)
    return margin_loss(logits, labels, pair_lipschitz=rows, eps=eps)


def _annealing(model: CertifiableModel, state: EstimateState, logits: Tensor, labels: Tensor, eps: float) -> Tensor:
    rows = label_lipschitz_estimate(model, state, labels)
    return logit_annealing_loss(logits, labels, pair_lipschitz=rows, eps=eps)


def _trades(model: CertifiableModel, state: EstimateState, logits: Tensor, labels: Tensor, eps: float) -> Tensor:
    return gloro_trades_loss(logits, labels, pair_lipschitz=pair_lipschitz_estimate(model, state), eps=eps)


def _cross_entropy(model: CertifiableModel, state: EstimateState, logits: Tensor, labels: Tensor, eps: float) -> Tensor:
    return F.cross_entropy(logits, labels)


OBJECTIVES: dict[str, Objective] = {
    "emma": _emma,
    "margin": _margin,
    "logit_annealing": _annealing,
    "gloro_trades": _trades,
    "cross_entropy": _cross_entropy,
}
