"""Losses that trade accuracy for certified radius: pure functions of tensors.

Letters: B batch, K classes. ``pair_lipschitz`` holds the Lipschitz constants of the logit differences
f_i - f_j: either the whole (K, K) matrix or, where only the label's row is needed, (B, K) with entry
[b, i] = Lip(f_i - f_{y_b}). A loss takes an upper bound or an estimate alike; training uses estimates.
Eps is an L2 radius in [0,1] pixel units.

Sources: EMMA and margin, Hu et al., NeurIPS 2023 (arXiv 2301.12549) and the ICLR 2024 recipe; GloRo,
Leino et al., ICML 2021; logit annealing, Lai et al., ICLR 2025.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

_SMALLEST_DENOMINATOR = 1e-8
_SMALLEST_RHO = 0.01
_SMALLEST_DOUBT = 1e-30


def _label_rows(pair_lipschitz: Tensor, logits: Tensor, labels: Tensor) -> Tensor:
    """(B, K) rows of the labels, from (K, K) or from (B, K) as given."""
    batch, classes = logits.shape
    if pair_lipschitz.shape == (batch, classes) and batch != classes:
        return pair_lipschitz
    if pair_lipschitz.shape == (classes, classes):
        return pair_lipschitz[labels]
    raise ValueError(
        f"pair_lipschitz has shape {tuple(pair_lipschitz.shape)}; "
        f"expected {(classes, classes)} or {(batch, classes)} for logits of shape {(batch, classes)}"
    )


def _emma_shift(logits: Tensor, labels: Tensor, pair_lipschitz: Tensor, eps: float) -> Tensor:
    """z' (B, K): logits relative to the label's, each raised by rho * eps * Lip with rho in [0.01, 1]."""
    reach = eps * _label_rows(pair_lipschitz, logits, labels)
    gap = logits - logits.gather(1, labels[:, None])
    with torch.no_grad():
        rho = (-gap / reach.clamp_min(_SMALLEST_DENOMINATOR)).clamp(_SMALLEST_RHO, 1.0)
    return gap + rho * reach


def emma_loss(logits: Tensor, labels: Tensor, *, pair_lipschitz: Tensor, eps: float) -> Tensor:
    """Efficient margin maximisation: every class is penalised up to min(eps, its certified radius).

    logits (B, K), labels (B,) -> scalar. The adaptive radius rho carries no gradient; the logits and
    the Lipschitz constants do. With B == K a square ``pair_lipschitz`` is read as the (K, K) matrix.
    """
    return F.cross_entropy(_emma_shift(logits, labels, pair_lipschitz, eps), labels)


def margin_loss(logits: Tensor, labels: Tensor, *, pair_lipschitz: Tensor, eps: float) -> Tensor:
    """Cross-entropy of the logits after every other class has gained eps * Lip(f_i - f_y)."""
    return F.cross_entropy(logits + eps * _label_rows(pair_lipschitz, logits, labels), labels)


def gloro_trades_loss(
    logits: Tensor, labels: Tensor, *, pair_lipschitz: Tensor, eps: float, lambda_: float = 1.0
) -> Tensor:
    """Cross-entropy plus lambda times the KL term of the abstain class of the *predicted* class.

    ``pair_lipschitz`` must be the whole (K, K) matrix: the rows needed are those of the predictions.
    """
    classes = logits.shape[1]
    if pair_lipschitz.shape != (classes, classes):
        raise ValueError(f"pair_lipschitz has shape {tuple(pair_lipschitz.shape)}; expected {(classes, classes)}")
    predicted = logits.argmax(dim=1)
    threatened = logits + eps * pair_lipschitz[predicted]
    others = threatened.masked_fill(F.one_hot(predicted, classes).bool(), -torch.inf)
    with_bottom = torch.cat([logits, others.max(dim=1, keepdim=True).values], dim=1)
    abstention = torch.logsumexp(with_bottom, dim=1) - torch.logsumexp(logits, dim=1)
    return F.cross_entropy(logits, labels) + lambda_ * abstention.mean()


def logit_annealing_loss(
    logits: Tensor,
    labels: Tensor,
    *,
    pair_lipschitz: Tensor,
    eps: float,
    offset: float = 2.0,
    temperature: float = 0.75,
    beta: float = 5.0,
) -> Tensor:
    """Annealed focal loss of the EMMA-shifted logits: points with a large margin stop pulling.

    L = -T (1 - p)^beta log p with p = softmax((z' - offset * onehot(y)) / T)_y, averaged over the batch.
    """
    shifted = _emma_shift(logits, labels, pair_lipschitz, eps)
    shifted = shifted - offset * F.one_hot(labels, logits.shape[1])
    log_p = F.log_softmax(shifted / temperature, dim=1).gather(1, labels[:, None]).squeeze(1)
    # Where p rounds to 1 a power below 1 has an infinite slope, and a gradient of infinity times 0.
    doubt = (1 - log_p.exp()).clamp_min(_SMALLEST_DOUBT)
    return (-temperature * doubt.pow(beta) * log_p).mean()
