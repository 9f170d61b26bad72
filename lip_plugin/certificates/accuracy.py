"""Shares of test images, with their sampling intervals."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lip_plugin.certificates.certificate import Certificate
from lip_plugin.errors import DataError
from lip_plugin.types import parse_eps

_Z_95 = 1.959963984540054


def certified_at(certificate: Certificate, labels: Tensor, eps: float) -> Tensor:
    """(B,) bool: correct, and proved for every input within eps (strictly: radius > eps)."""
    if not isinstance(labels, Tensor):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise DataError(f"labels are a {type(labels).__name__}; expected a torch tensor ({len(certificate)},)")
    if labels.shape != certificate.prediction.shape:
        raise DataError(f"labels have shape {tuple(labels.shape)}; the certificate has {len(certificate)} images")
    return (certificate.prediction == labels.cpu()) & (certificate.radius > parse_eps(eps))


def verified_robust_accuracy(certificate: Certificate, labels: Tensor, eps: float) -> float:
    """VRA: the share of images that are correct and certified at eps. A lower bound of robust accuracy."""
    if len(certificate) == 0:
        raise DataError("the certificate is empty; accuracy needs at least one image")
    return float(certified_at(certificate, labels, eps).to(torch.float64).mean())


def wilson_interval95(successes: int, trials: int) -> tuple[float, float]:
    """Wilson's 95 % score interval of a proportion (JASA 22, 1927)."""
    if not 0 <= successes <= trials or trials == 0:
        raise DataError(f"an interval needs 0 <= successes <= trials and trials >= 1, got {successes} of {trials}")
    share, z2 = successes / trials, _Z_95**2 / trials
    centre = share + z2 / 2
    spread = _Z_95 * math.sqrt(share * (1 - share) / trials + z2 / (4 * trials))
    return max(0.0, (centre - spread) / (1 + z2)), min(1.0, (centre + spread) / (1 + z2))
