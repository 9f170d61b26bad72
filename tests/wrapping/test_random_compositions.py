"""Random networks of accepted layers: the frozen one is the same function, and no Jacobian exceeds the bound.

60 of them; ``LIP_COMPOSITIONS=500 pytest tests/wrapping/test_random_compositions.py`` tries as many as it says.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from typing import Literal, TypeAlias

import pytest
import torch
from torch import Tensor, nn

import lip_plugin as lp

Maker: TypeAlias = "Callable[[int, random.Random], nn.Module]"
SHAPE = (2, 8, 8)
COUNT = int(os.environ.get("LIP_COMPOSITIONS", "60"))


class Applied(nn.Module):
    """A function as a module."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.held = [function]

    def forward(self, x: Tensor) -> Tensor:
        return self.held[0](x)


class Sum(nn.Module):
    """shortcut(x) + branch(x)"""

    def __init__(self, branch: nn.Module, shortcut: nn.Module) -> None:
        super().__init__()
        self.branch, self.shortcut = branch, shortcut

    def forward(self, x: Tensor) -> Tensor:
        return self.shortcut(x) + self.branch(x)


def max_min(x: Tensor) -> Tensor:
    a, b = x[:, ::2], x[:, 1::2]
    return torch.cat([torch.maximum(a, b), torch.minimum(a, b)], 1)


def paired(x: Tensor) -> Tensor:
    pairs = x.view(x.shape[0], -1, 2, *x.shape[2:])
    return torch.stack([pairs.max(2)[0], pairs.min(2)[0]], 2).view(x.shape)


def full_sort(x: Tensor) -> Tensor:
    return x.sort(dim=1, descending=True)[0]


MODES: list[Literal["zeros", "circular", "reflect", "replicate"]] = ["zeros", "circular", "reflect", "replicate"]
MAPS: list[Maker] = [
    lambda c, r: nn.Conv2d(
        c, 2 * r.randint(1, 2), 3, padding=1, padding_mode=r.choice(["zeros", "circular", "reflect"])
    ),  # pyright: ignore[reportArgumentType]
    lambda c, r: nn.Conv2d(c, c, r.choice([1, 3]), groups=r.choice([1, c]), bias=False),
    lambda c, r: nn.Sequential(nn.ZeroPad2d(1), nn.Conv2d(c, 2, 3, stride=2)),
    lambda c, r: nn.ConvTranspose2d(c, 2, 3, padding=1, groups=r.choice([1, 2])),
    lambda c, r: nn.BatchNorm2d(c),
    lambda c, r: r.choice([nn.ReLU(), nn.GELU(), nn.SiLU(), nn.Mish(), nn.ELU(0.7), nn.Softplus(), nn.Hardswish()]),
    lambda c, r: r.choice([nn.Tanh(), nn.Hardtanh(-0.5, 0.7), nn.PReLU(c), nn.CELU(), nn.SELU(), nn.Softsign()]),
    lambda c, r: Applied(r.choice([max_min, paired, full_sort])),
    lambda c, r: Applied(lambda x: (x - 0.3) / torch.tensor([0.5, 2.0] * (c // 2), dtype=x.dtype).view(-1, 1, 1)),
    lambda c, r: r.choice([nn.AvgPool2d(3, 1, 1), nn.MaxPool2d(2, 1), nn.LPPool2d(2, 2), nn.Dropout2d()]),
    lambda c, r: nn.Sequential(nn.Upsample(scale_factor=2), nn.PixelUnshuffle(2)),
    lambda c, r: Sum(nn.Sequential(nn.Conv2d(c, c, 3, padding=1), nn.ReLU(), nn.Conv2d(c, c, 1)), nn.Identity()),
    lambda c, r: Sum(nn.Conv2d(c, 2, 3, padding=1), nn.Conv2d(c, 2, 1)),
    lambda c, r: Sum(nn.Conv2d(c, c, 3, padding=1), nn.Identity()),
    lambda c, r: Applied(lambda x: x.flip(1).clamp(-1.0, 1.0)),
    lambda c, r: Applied(lambda x: torch.cat([x[:, :1].tanh(), 0.5 * x[:, 1:]], 1)),
    lambda c, r: Applied(lambda x: torch.cat([2.0 * x[:, 1:] - 0.1, x[:, :1]], 1)),
]


def composed(seed: int) -> nn.Sequential:
    """Some layers, then a head; every draw follows from the seed."""
    source = random.Random(seed)
    torch.manual_seed(seed)
    layers: list[nn.Module] = []
    x = torch.zeros(2, *SHAPE)
    while len(layers) < source.randint(2, 6):
        layer = source.choice(MAPS)(x.shape[1], source).eval()
        for part in layer.modules():
            if isinstance(part, nn.BatchNorm2d):
                assert part.running_mean is not None and part.running_var is not None
                part.running_mean.normal_()
                part.running_var.uniform_(0.2, 3.0)
                part.weight.data.normal_()
        try:
            with torch.no_grad():
                out = layer(x)
        except RuntimeError:  # the map has become too small for this one
            continue
        if out.shape[2] >= 2:
            layers.append(layer)
            x = out
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(x[0].numel(), 3)).eval()


@pytest.mark.parametrize("seed", range(COUNT))
def test_the_frozen_network_is_the_module_and_its_bound_holds(seed: int) -> None:
    module = composed(seed).double()
    network = lp.wrap(module, input_shape=SHAPE)
    x = 4 * torch.randn(4, *SHAPE, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)) + 0.5
    assert torch.allclose(network(x), module(x), rtol=1e-7, atol=1e-7)
    pair = lp.pair_lipschitz_upper_bound(network)
    for image in x:
        jacobian = torch.autograd.functional.jacobian(lambda one: module(one[None])[0], image).flatten(1)  # pyright: ignore[reportArgumentType, reportUnknownMemberType]
        steepness = torch.linalg.vector_norm(jacobian[:, None] - jacobian[None], dim=2)
        assert (steepness <= pair * (1 + 1e-9)).all()
    features = nn.Sequential(*list(module)[:-1])
    bound = lp.lipschitz_upper_bound(network).value
    for image in x[:2]:
        jacobian = torch.autograd.functional.jacobian(lambda one: features(one[None])[0], image).flatten(1)  # pyright: ignore[reportArgumentType, reportUnknownMemberType]
        assert float(torch.linalg.svdvals(jacobian)[0]) <= bound * (1 + 1e-9)


@pytest.mark.parametrize("seed", range(5))
def test_a_bias_never_matters_to_a_bound(seed: int) -> None:
    module = composed(seed).double()
    before = lp.pair_lipschitz_upper_bound(lp.wrap(module, input_shape=SHAPE))
    for part in module.modules():
        bias = getattr(part, "bias", None)
        if isinstance(bias, Tensor):
            bias.data.add_(torch.randn_like(bias))
    assert torch.equal(lp.pair_lipschitz_upper_bound(lp.wrap(module, input_shape=SHAPE)), before)
