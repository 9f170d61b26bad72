"""`lp.predict`: a label only where it is proved at eps."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lip_plugin.certificates.certificate import certify
from lip_plugin.certificates.inputs import Batches
from lip_plugin.network import CertifiedClassifier
from lip_plugin.types import ABSTAIN, parse_eps


@dataclass(frozen=True)
class Prediction:
    """``label`` (B,) int64, ABSTAIN (-1) where the radius does not exceed eps; ``radius`` (B,) float64."""

    label: Tensor
    radius: Tensor
    digest: str

    def __repr__(self) -> str:
        abstained = int((self.label == ABSTAIN).sum())
        return f"Prediction({len(self.label):,} labels, {abstained:,} of them ABSTAIN; network {self.digest[:12]})"


def predict(
    model: CertifiedClassifier,
    x: Tensor | Batches,
    *,
    eps: float,
    arithmetic: str = "forward",
    batch_size: int | None = None,
) -> Prediction:
    """Labels of ``model(x)`` that no perturbation of L2 norm up to eps can change, and abstention elsewhere.

    Raises as `certify`.
    """
    eps = parse_eps(eps)  # before the work
    certificate = certify(model, x, arithmetic=arithmetic, batch_size=batch_size)
    label = torch.where(
        certificate.certified(eps), certificate.prediction, torch.full_like(certificate.prediction, ABSTAIN)
    )
    return Prediction(label, certificate.radius, certificate.digest)
