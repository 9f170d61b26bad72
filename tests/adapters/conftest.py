"""A classifier whose boundary is known in closed form."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lip_plugin.network import CertifiedClassifier
from lip_plugin.wrapping import wrap

Problem = tuple[CertifiedClassifier, Tensor, Tensor, Tensor]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def linear_problem() -> Callable[..., Problem]:
    """classes -> (model, images, labels, distances).

    A linear classifier, images in the middle of the box, all about equally far from the boundary, and their
    L2 distances (B,) float64 from it: min over j of (f_y - f_j) / ||w_y - w_j||. The box does not bind.
    """
    return _linear_problem


def _linear_problem(
    classes: int,
    *,
    count: int = 4,
    spread: int = 0,
    scale: float = 1.0,
    shift: float = 0.0,
    dtype: torch.dtype = torch.float32,
    shape: tuple[int, int, int] = (1, 8, 8),
) -> Problem:
    """``spread`` n: every n-th image of those ordered by distance, instead of neighbours."""
    draw = torch.Generator().manual_seed(classes)
    # Smooth weights: Square moves whole windows and gets nowhere on white noise.
    coarse = torch.randn(classes, shape[0], 2, 2, generator=draw)
    smooth = F.interpolate(coarse, size=shape[1:], mode="bilinear", align_corners=False).flatten(1)
    weight = F.normalize(smooth + 0.1 * torch.randn(smooth.shape, generator=draw), dim=1).to(dtype)
    bias = (-0.5 * weight.double().sum(dim=1) + 0.02 * torch.randn(classes, generator=draw)).to(dtype)
    pool = (0.5 + 0.05 * torch.randn(2000, *shape, generator=draw)).to(dtype)
    labels, distances = _closed_form(weight, bias, pool)
    order = distances.argsort()
    chosen = order[100::spread][:count] if spread else order[1000 : 1000 + count]

    head = nn.Linear(weight.shape[1], classes, dtype=dtype)
    with torch.no_grad():
        head.weight.copy_(scale * weight)
        head.bias.copy_(scale * bias + shift)
    model = wrap(nn.Sequential(nn.Flatten()).eval(), head.eval(), input_shape=shape)
    return model, pool[chosen], labels[chosen], distances[chosen]


def _closed_form(weight: Tensor, bias: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    logits = x.double().flatten(1) @ weight.double().T + bias.double()
    labels = logits.argmax(dim=1)
    gaps = logits.gather(1, labels[:, None]) - logits
    slopes = torch.cdist(weight.double(), weight.double())[labels]
    ratios = gaps / slopes
    return labels, ratios.scatter(1, labels[:, None], torch.inf).amin(dim=1)
