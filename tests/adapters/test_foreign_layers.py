"""Layers of deel-torchlip and orthogonium: the frozen network is the layer, and its bound is not far above it.

The right constant is found without the library under test: the largest singular value of the layer's Jacobian, exact
for linear layers, from below for the others.
"""

from __future__ import annotations

import importlib
import math
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import lip_plugin as lp
from lip_plugin.wrapping import operators_of

MAP, VECTOR = (4, 6, 6), (16,)
Made = Callable[[Any], nn.Module]

TORCHLIP: dict[str, tuple[Made, tuple[int, ...], float]] = {
    "BatchCentering": (lambda t: t.BatchCentering(4), MAP, 1.01),
    "BatchCentering of vectors": (lambda t: t.BatchCentering(16), VECTOR, 1.01),
    "BatchLipNorm": (lambda t: t.BatchLipNorm(4), MAP, 1.01),
    "FrobeniusConv2d": (lambda t: t.FrobeniusConv2d(4, 3, 3, padding=1), MAP, 1.2),
    "FrobeniusLinear": (lambda t: t.FrobeniusLinear(16, 3), VECTOR, 1.01),
    "FullSort": (lambda t: t.FullSort(), MAP, 1.01),
    "GroupSort": (lambda t: t.GroupSort(4), VECTOR, 1.01),
    "GroupSort2": (lambda t: t.GroupSort2(), MAP, 1.01),
    "GroupSort2 of vectors": (lambda t: t.GroupSort2(), VECTOR, 1.01),
    "HouseHolder": (lambda t: t.HouseHolder(4, theta_initializer="normal"), MAP, 1.01),
    "HouseHolder of vectors": (lambda t: t.HouseHolder(16, theta_initializer="normal"), VECTOR, 1.01),
    "InvertibleDownSampling": (lambda t: t.InvertibleDownSampling(2), MAP, 1.01),
    "InvertibleUpSampling": (lambda t: t.InvertibleUpSampling(2), MAP, 1.01),
    "LPReLU": (lambda t: t.LPReLU(4, init=0.3), MAP, 1.01),
    "LayerCentering": (lambda t: t.LayerCentering(4), MAP, 1.01),
    "LayerCentering of vectors": (lambda t: t.LayerCentering(dim=-1), VECTOR, 1.01),
    "LipResidual": (lambda t: _Joined(t.LipResidual()), MAP, 1.01),
    "MaxMin": (lambda t: t.MaxMin(), MAP, 1.01),
    "MaxMin of vectors": (lambda t: t.MaxMin(k_coef_lip=2.0), VECTOR, 1.01),
    "PadConv2d": (lambda t: t.PadConv2d(4, 3, 3, padding=1, padding_mode="symmetric"), MAP, 1.7),
    "ScaleBiasLayer": (lambda t: t.ScaleBiasLayer(0.7, 4), MAP, 1.01),
    "ScaledAdaptativeL2NormPool2d": (lambda t: t.ScaledAdaptativeL2NormPool2d(), MAP, 1.01),
    "ScaledAdaptiveAvgPool2d": (lambda t: t.ScaledAdaptiveAvgPool2d((1, 1)), MAP, 1.01),
    "ScaledAvgPool2d": (lambda t: t.ScaledAvgPool2d(2), MAP, 1.01),
    "ScaledL2NormPool2d": (lambda t: t.ScaledL2NormPool2d(2), MAP, 1.01),
    "SpectralConv2d": (lambda t: t.SpectralConv2d(4, 3, 3, padding=1), MAP, 1.2),
    "SpectralConvTranspose2d": (lambda t: t.SpectralConvTranspose2d(4, 3, 3), MAP, 1.2),
    "SpectralLinear": (lambda t: t.SpectralLinear(16, 8), VECTOR, 1.01),
}
ORTHOGONIUM: dict[str, tuple[Made, tuple[int, ...], float]] = {
    "Abs": (lambda t: t.layers.Abs(), MAP, 1.01),
    "AdaptiveOrthoConv2d": (lambda t: t.layers.AdaptiveOrthoConv2d(4, 4, 3), MAP, 1.01),
    "AdaptiveOrthoConv2d, strided": (lambda t: t.layers.AdaptiveOrthoConv2d(4, 8, 4, stride=2, padding=1), MAP, 1.2),
    "AdaptiveOrthoConv2d, patches": (lambda t: t.layers.AdaptiveOrthoConv2d(4, 8, 2, stride=2, padding=0), MAP, 1.01),
    "AdaptiveOrthoConvTranspose2d": (lambda t: t.layers.AdaptiveOrthoConvTranspose2d(4, 4, 2, stride=2), MAP, 1.01),
    "AdaptiveSOCConv2d": (lambda t: t.layers.conv.adaptiveSOC.AdaptiveSOCConv2d(4, 4, 3, padding=3), MAP, 1.2),
    "AOLConv2D": (lambda t: t.layers.conv.AOL.AOLConv2D(4, 4, 3), MAP, 1.2),
    "AdditiveResidual": (lambda t: t.layers.residual.AdditiveResidual(nn.ReLU()), MAP, 1.01),
    "BatchCentering2D": (lambda t: t.layers.BatchCentering2D(4), MAP, 1.01),
    "ChannelShuffle": (lambda t: t.layers.ChannelShuffle(2, 2), MAP, 1.01),
    "HouseHolder": (lambda t: t.layers.HouseHolder(4), MAP, 1.01),
    "LayerCentering2D": (lambda t: t.layers.LayerCentering2D(4), MAP, 1.01),
    "MaxMin": (lambda t: t.layers.MaxMin(), VECTOR, 1.01),
    "OrthoLinear": (lambda t: t.layers.OrthoLinear(16, 8), VECTOR, 1.01),
    "UnitNormLinear": (lambda t: t.layers.UnitNormLinear(16, 3), VECTOR, 1.01),
}


class _Joined(nn.Module):
    """A join of two inputs, given x and relu(x)."""

    def __init__(self, join: nn.Module) -> None:
        super().__init__()
        self.join = join

    def forward(self, x: Tensor) -> Tensor:
        return self.join(x, torch.relu(x))


def _library(name: str) -> Any:
    parts = ("layers.residual", "layers.conv.AOL", "layers.conv.adaptiveSOC") if name == "orthogonium" else ()
    with warnings.catch_warnings():  # orthogonium's docstrings have escapes that Python warns of
        warnings.simplefilter("ignore")
        library = pytest.importorskip(name)
        for part in parts:
            importlib.import_module(f"{name}.{part}")
    return library


def _checked(module: nn.Module, shape: tuple[int, ...], looseness: float) -> None:
    """The module in eval mode, after some training steps and with biases that are not zero."""
    generator = torch.Generator().manual_seed(1)
    for name, value in module.named_parameters():
        if name.endswith("bias"):
            value.data.uniform_(-1.0, 1.0, generator=generator)
    for _ in range(30):  # running statistics, and power iterations
        module.train()(1.0 + 3.0 * torch.randn(8, *shape, generator=generator))
    module.eval()
    operators = operators_of(module, "module", shape)
    x = torch.randn(8, *shape, generator=generator)
    found = x
    for operator in operators:
        found = operator.apply(found)
    with torch.no_grad():
        expected = module(x)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)

    exact = 0.0
    for image in x:
        jacobian: Any = torch.autograd.functional.jacobian(lambda one: module(one[None])[0], image)
        matrix = jacobian.reshape(expected[0].numel(), -1).double()
        exact = max(exact, float(torch.linalg.svdvals(matrix)[0]))
    whole = nn.Sequential(nn.Flatten(), module).eval() if len(shape) == 1 else module
    channels, height, width = (*shape, 1, 1)[:3]
    bound = lp.lipschitz_upper_bound(whole, input_shape=(channels, height, width)).value
    assert exact * (1 - 1e-5) <= bound <= exact * looseness


@pytest.mark.parametrize("name", TORCHLIP)
def test_torchlip(name: str) -> None:
    library = _library("deel.torchlip")
    torch.manual_seed(0)
    make, shape, looseness = TORCHLIP[name]
    _checked(make(library), shape, looseness)


@pytest.mark.parametrize("name", ORTHOGONIUM)
def test_orthogonium(name: str) -> None:
    library = _library("orthogonium")
    torch.manual_seed(0)
    make, shape, looseness = ORTHOGONIUM[name]
    _checked(make(library), shape, looseness)


def test_a_network_of_torchlip_is_certified() -> None:
    """Between the radius of 1-Lipschitz logits, gap / sqrt 2, and the gap over its own slope at the image."""
    t = _library("deel.torchlip")
    torch.manual_seed(0)
    layers = [t.SpectralConv2d(1, 4, 3, padding=1), t.MaxMin(), t.ScaledL2NormPool2d(2), nn.Flatten()]
    module: Any = nn.Sequential(*layers, t.SpectralLinear(128, 16), t.GroupSort2(), t.SpectralLinear(16, 4)).eval()
    x = torch.rand(6, 1, 8, 8, requires_grad=True)
    top = module(x).topk(2, dim=1).values
    gap = top[:, 0] - top[:, 1]
    slope = torch.autograd.grad(gap.sum(), x)[0].flatten(1).norm(dim=1)
    proof = lp.certify(lp.wrap(module, input_shape=(1, 8, 8)), x.detach())
    assert (proof.radius >= gap / math.sqrt(2) * (1 - 1e-4)).all()
    assert (proof.radius <= gap / slope * (1 + 1e-5)).all()


def test_a_network_of_orthogonium_is_certified_without_training_it() -> None:
    t = _library("orthogonium")
    torch.manual_seed(0)
    conv = t.layers.AdaptiveOrthoConv2d
    layers = [
        conv(3, 8, 3),
        t.layers.MaxMin(),
        conv(8, 8, 3),
        t.layers.HouseHolder(8),
        conv(8, 16, 4, stride=2, padding=1),
    ]
    module = nn.Sequential(*layers, t.layers.MaxMin(), nn.Flatten(), t.layers.OrthoLinear(256, 4)).eval()
    x = torch.rand(6, 3, 8, 8)
    classifier = lp.wrap(module, input_shape=(3, 8, 8))
    with torch.no_grad():
        assert torch.equal(classifier(x).argmax(1), module(x).argmax(1))
    assert (lp.certify(classifier, x).radius > 0).all()


def test_a_join_without_operator_is_refused_with_the_one_to_use() -> None:
    t = _library("orthogonium")
    module = t.layers.residual.L2NormResidual(nn.ReLU()).eval()
    with pytest.raises(lp.UnsupportedLayerError, match=r"module\.1: .*use AdditiveResidual"):
        lp.wrap(nn.Sequential(nn.Flatten(), module, nn.Linear(16, 3)).eval(), input_shape=(16, 1, 1))
