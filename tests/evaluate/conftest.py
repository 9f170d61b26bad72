"""Networks whose distance to the decision boundary has a closed form, and an attack that is optimal on them."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

import lip_plugin as lp
from lip_plugin.evaluate import EmpiricalAttack

SHAPE = (1, 4, 4)
PIXELS = 16


@dataclass(frozen=True)
class ClosedForm:
    """logits = weight x + bias for images near the middle of the box; ``distance`` (N,) to the boundary."""

    model: lp.CertifiedClassifier
    x: Tensor
    y: Tensor
    distance: Tensor


def closed_form(model: lp.CertifiedClassifier, weight: Tensor, bias: Tensor, *, count: int, seed: int) -> ClosedForm:
    """Images around 0.5, labelled by the prediction except every eighth, which is labelled wrongly."""
    generator = torch.Generator().manual_seed(seed)
    x = 0.5 + 0.1 * torch.randn(count, *SHAPE, generator=generator).clamp(-2, 2)
    logits = x.double().flatten(1) @ weight.double().T + bias.double()
    top = logits.argmax(1)
    gap = logits.gather(1, top[:, None]) - logits
    pair = (weight.double()[top][:, None] - weight.double()).norm(dim=2).clamp_min(1e-300)
    distance = (gap / pair).scatter(1, top[:, None], torch.inf).amin(1)
    y = top.clone()
    y[::8] = (top[::8] + 1) % weight.shape[0]
    return ClosedForm(model, x, y, distance)


@pytest.fixture
def linear() -> ClosedForm:
    """A linear classifier of 5 classes, 48 images."""
    torch.manual_seed(0)
    head = nn.Linear(PIXELS, 5)
    head.bias.data = -head.weight.data.sum(1) / 2 + 0.05 * torch.randn(5)  # so that 0.5 lies between the classes
    model = lp.wrap(nn.Flatten().eval(), head.eval(), input_shape=SHAPE)
    return closed_form(model, head.weight.detach(), head.bias.detach(), count=48, seed=1)


@pytest.fixture
def orthogonal() -> ClosedForm:
    """Two orthogonal layers and a permutation before a linear head of 4 classes, 48 images."""
    torch.manual_seed(3)
    layers = [nn.Linear(PIXELS, PIXELS, bias=False) for _ in range(2)]
    for layer in layers:
        layer.weight.data = torch.linalg.qr(torch.randn(PIXELS, PIXELS, dtype=torch.float64)).Q.float()
    head = nn.Linear(PIXELS, 4)
    product = head.weight.detach().double() @ layers[1].weight.detach().double() @ layers[0].weight.detach().double()
    shuffle = nn.PixelUnshuffle(2)
    order = shuffle(torch.arange(PIXELS, dtype=torch.float32).view(1, *SHAPE)).flatten().long()
    weight = torch.empty_like(product)
    weight[:, order] = product
    head.bias.data = (-weight.sum(1) / 2).float() + 0.02 * torch.randn(4)
    features = nn.Sequential(shuffle, nn.Flatten(), *layers).eval()
    model = lp.wrap(features, head.eval(), input_shape=SHAPE)
    return closed_form(model, weight, head.bias.detach(), count=48, seed=4)


class GradientStep(EmpiricalAttack):
    """One step of length eps against the margin towards the nearest other class: optimal on a linear classifier."""

    name = "gradient-step"

    def run(self, model: nn.Module, x: Tensor, y: Tensor, *, eps: float, seed: int) -> Tensor:
        best = x.clone()
        smallest = torch.full((len(x),), torch.inf)
        logits = model(x)
        for target in range(logits.shape[1]):
            points = x.clone().requires_grad_(True)
            z = model(points)
            gap = z.gather(1, y[:, None])[:, 0] - z[:, target]
            (gradient,) = torch.autograd.grad(gap.sum(), points)
            norm = gradient.flatten(1).norm(dim=1)
            closeness = torch.where(y == target, torch.inf, gap.detach() / norm.clamp_min(1e-12))
            nearer = closeness < smallest
            step = points.detach() - eps * gradient / norm.clamp_min(1e-12)[:, None, None, None]
            best = torch.where(nearer[:, None, None, None], step, best)
            smallest = torch.where(nearer, closeness, smallest)
        return best


@pytest.fixture
def gradient_step() -> EmpiricalAttack:
    return GradientStep()
