"""Losses by name, fed with estimates of the Lipschitz constants they need and no more."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from lip_plugin.losses import emma_loss, gloro_trades_loss, logit_annealing_loss, margin_loss
from lip_plugin.models import CertifiableModel
from lip_plugin.train.estimates import EstimateState, label_lipschitz_estimate, pair_lipschitz_estimate


@dataclass(frozen=True)
class Objective:
    """A loss and the estimate it takes: label rows (see `label_lipschitz_estimate`), the whole matrix, or none."""

    loss: Callable[..., Tensor]
    estimate: Callable[[CertifiableModel, EstimateState, Tensor], Tensor] | None
    section: str = ""
    """The section of a recipe whose settings are arguments of the loss."""

    def with_settings(self, recipe: Mapping[str, Any]) -> Objective:
        """With the settings of its section, of a recipe as a dict."""
        return replace(self, loss=partial(self.loss, **recipe[self.section])) if self.section else self

    def __call__(
        self,
        model: CertifiableModel,
        state: EstimateState,
        logits: Tensor,
        labels: Tensor,
        eps: float,
        *,
        temperature: float = 1.0,
    ) -> tuple[Tensor, Tensor | None]:
        """logits (B, K), labels (B,) -> (scalar loss, the estimate that was used).

        The loss is that of logits and Lipschitz constants over ``temperature``: radii stay what they are, and how far
        apart logits must be to count as sure is chosen. A network of fixed Lipschitz constant cannot choose it itself.
        """
        if self.estimate is None:
            return self.loss(logits / temperature, labels), None
        pair = self.estimate(model, state, labels)
        return self.loss(logits / temperature, labels, pair_lipschitz=pair / temperature, eps=eps), pair


def _whole_matrix(model: CertifiableModel, state: EstimateState, labels: Tensor) -> Tensor:
    return pair_lipschitz_estimate(model, state)


OBJECTIVES: dict[str, Objective] = {
    "emma": Objective(emma_loss, label_lipschitz_estimate),
    "margin": Objective(margin_loss, label_lipschitz_estimate),
    "logit_annealing": Objective(logit_annealing_loss, label_lipschitz_estimate, "annealing"),
    "gloro_trades": Objective(gloro_trades_loss, _whole_matrix),
    "cross_entropy": Objective(F.cross_entropy, None),
}


@torch.no_grad()
def accuracy_estimates(logits: Tensor, labels: Tensor, pair_lipschitz: Tensor | None, eps: float) -> Tensor:
    """(2,) on the device: shares of the batch that are correct, and correct with an estimated radius above eps.

    logits (B, K), labels (B,), pair_lipschitz (K, K) or label rows (B, K) with B < K. The second is NaN
    where there is no estimate. Of augmented training images and from below-converging constants: no VRA.
    """
    clean = (logits.argmax(dim=1) == labels).float().mean()
    if pair_lipschitz is None:
        return torch.stack([clean, torch.full_like(clean, torch.nan)])
    rows = pair_lipschitz[labels] if len(pair_lipschitz) == logits.shape[1] else pair_lipschitz
    spare = logits.gather(1, labels[:, None]) - logits - eps * rows
    others = spare.scatter(1, labels[:, None], torch.inf)
    return torch.stack([clean, (others.amin(dim=1) > 0).float().mean()])
