"""Linear classifiers: how far their images are from the boundary is known in closed form."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from lip_plugin.network import CertifiedClassifier, Flatten, Head

_POOL = 2000


@dataclass(frozen=True)
class LinearProblem:
    """``x`` (B, C, H, W) in the middle of the box, ``y`` (B,) as predicted, ``distance`` (B,) float64.

    The distance is that of the image from the boundary: min over j of (f_y - f_j) / ||w_y - w_j||. No pixel comes to
    0 or 1 on the way there.
    """

    model: CertifiedClassifier
    x: Tensor
    y: Tensor
    distance: Tensor


def linear_problem(
    classes: int,
    *,
    count: int = 4,
    spread: int = 0,
    scale: float = 1.0,
    shift: float = 0.0,
    dtype: torch.dtype = torch.float32,
    shape: tuple[int, int, int] = (1, 8, 8),
) -> LinearProblem:
    """``count`` images about equally far from the boundary; with ``spread`` n every n-th of those ordered by distance.

    ``scale`` and ``shift`` are applied to the logits and change no distance.
    """
    draw = torch.Generator().manual_seed(classes)
    # Smooth weights: random searches that move whole windows get nowhere on white noise.
    coarse = torch.randn(classes, shape[0], 2, 2, generator=draw)
    smooth = F.interpolate(coarse, size=shape[1:], mode="bilinear", align_corners=False).flatten(1)
    weight = F.normalize(smooth + 0.1 * torch.randn(smooth.shape, generator=draw), dim=1).to(dtype)
    bias = (-0.5 * weight.double().sum(dim=1) + 0.02 * torch.randn(classes, generator=draw)).to(dtype)
    pool = (0.5 + 0.05 * torch.randn(_POOL, *shape, generator=draw)).to(dtype)
    labels, distances = _closed_form(weight, bias, pool)
    order = distances.argsort()
    chosen = order[100::spread][:count] if spread else order[_POOL // 2 : _POOL // 2 + count]
    model = CertifiedClassifier([Flatten()], Head(scale * weight, scale * bias + shift), input_shape=shape)
    return LinearProblem(model, pool[chosen], labels[chosen], distances[chosen])


def _closed_form(weight: Tensor, bias: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    logits = x.double().flatten(1) @ weight.double().T + bias.double()
    labels = logits.argmax(dim=1)
    gaps = logits.gather(1, labels[:, None]) - logits
    slopes = torch.cdist(weight.double(), weight.double())[labels]
    ratios = gaps / slopes
    return labels, ratios.scatter(1, labels[:, None], torch.inf).amin(dim=1)
