"""Every operator through the test kit: two methods each."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from random import Random
from typing import Any

import pytest
import torch
from torch import Tensor

from lip_plugin.errors import UnsupportedLayerError
from lip_plugin.network import (
    Activation,
    AvgPool,
    ChannelShuffle,
    Concat,
    Conv,
    ConvexPotential,
    ConvTranspose,
    Dense,
    Flatten,
    FrequencyConv,
    FrequencyMatrix,
    Gather,
    GroupSort,
    L2Pool,
    MaxPool,
    MinMax,
    Offset,
    Operator,
    Pad,
    PartialAbs,
    PixelShuffle,
    PixelUnshuffle,
    PReLU,
    Repeat,
    Reshape,
    Residual,
    Scale,
    SpatialShift,
)
from lip_plugin.network.operators import BUILT_IN
from lip_plugin.testing import OperatorTests

Make = Callable[[], Operator]
IMAGE, TIGHT = (4, 6, 6), 1.0 + 1e-6
SAME = (1, 1, 1, 1)


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed + sum(shape)))


def conv(*weight: int, **settings: Any) -> Conv:
    return Conv(draw(*weight), draw(weight[0], seed=1), **settings)


def by_frequency(rank: int, *sides: int, scale: float = 0.5, **settings: Any) -> FrequencyConv:
    """Four channels; the factors of random taps, so that those of opposite frequencies are conjugate."""
    spectrum = torch.fft.rfft2(scale * draw(4, rank, *sides)).permute(2, 3, 0, 1)
    return FrequencyConv(torch.cat([spectrum.real, spectrum.imag], 2).contiguous(), **settings)


def matrices(outputs: int, inputs: int, *sides: int, scale: float = 0.5) -> FrequencyMatrix:
    """Of random taps as well."""
    spectrum = torch.fft.rfft2(scale * draw(outputs, inputs, *sides)).permute(2, 3, 0, 1)
    return FrequencyMatrix(torch.cat([spectrum.real, spectrum.imag], 2).contiguous())


def away_from(kink: float, x: Tensor) -> Tensor:
    """No entry within 0.02 of a kink."""
    return torch.where((x - kink).abs() < 0.02, x + 0.05, x)


CASES: dict[str, tuple[Make, tuple[int, ...], float]] = {
    # name: (operator, input shape, how far its bound may lie above the largest Jacobian found)
    "conv": (lambda: conv(6, 4, 3, 3, padding=SAME), IMAGE, TIGHT),
    "conv, strided, groups": (
        lambda: conv(4, 2, 4, 2, stride=(2, 1), padding=(1, 2, 0, 1), dilation=(1, 2), groups=2),
        IMAGE,
        TIGHT,
    ),
    "conv, circular": (lambda: conv(3, 4, 3, 3, padding=(2, 2, 2, 2), padding_mode="circular"), IMAGE, 1.5),
    "conv, long sums": (lambda: conv(2, 64, 3, 3, padding=SAME), (64, 3, 3), TIGHT),
    "conv by frequency": (lambda: by_frequency(2, 6, 6), IMAGE, TIGHT),
    "conv by frequency, odd sides, full rank": (lambda: by_frequency(4, 5, 3, scale=0.2), (4, 5, 3), TIGHT),
    "conv by frequency, isometry": (lambda: by_frequency(1, 6, 6, scale=1e-3), IMAGE, TIGHT),
    "conv by frequency, padded and cropped": (
        lambda: by_frequency(2, 9, 8, padding=(1, 2, 0, 2), crop=(1, 0, 2, 1)),
        IMAGE,
        2.0,
    ),
    "conv by frequency, growing": (lambda: by_frequency(2, 8, 8, padding=SAME), IMAGE, 1.5),
    "matrices by frequency": (lambda: matrices(4, 4, 6, 6), IMAGE, TIGHT),
    "matrices by frequency, odd sides, fewer channels": (lambda: matrices(2, 4, 5, 3), (4, 5, 3), TIGHT),
    "dense": (lambda: Dense(draw(9, 40), draw(9)), (40,), TIGHT),
    "dense, long sums": (lambda: Dense(draw(3, 400)), (400,), TIGHT),
    "offset": (lambda: Offset(draw(4)), IMAGE, TIGHT),
    "offset of features": (lambda: Offset(draw(40)), (40,), TIGHT),
    "offset of positions": (lambda: Offset(draw(1, 6, 6)), IMAGE, TIGHT),
    "offset of entries": (lambda: Offset(draw(4, 6, 6)), IMAGE, TIGHT),
    "scale": (lambda: Scale(draw(4)), IMAGE, TIGHT),
    "average pool": (lambda: AvgPool((3, 3), (2, 1), (1, 1)), IMAGE, TIGHT),
    "max pool": (lambda: MaxPool((3, 3), (2, 2), (1, 1)), IMAGE, 2.5),
    "max pool without overlap": (lambda: MaxPool((2, 2), (2, 2)), IMAGE, TIGHT),
    "l2 pool": (lambda: L2Pool((3, 2)), IMAGE, TIGHT),
    "minmax": (lambda: MinMax(), IMAGE, TIGHT),
    "relu": (lambda: Activation("relu"), IMAGE, TIGHT),
    "abs": (lambda: Activation("abs"), IMAGE, TIGHT),
    "leaky relu": (lambda: Activation("leaky_relu", 0.1), IMAGE, TIGHT),
    "leaky relu, steep below": (lambda: Activation("leaky_relu", -2.5), IMAGE, TIGHT),
    "elu": (lambda: Activation("elu", 1.0), IMAGE, TIGHT),
    "tanh": (lambda: Activation("tanh"), IMAGE, 1.1),
    "sigmoid": (lambda: Activation("sigmoid"), IMAGE, 1.1),
    "gelu": (lambda: Activation("gelu"), IMAGE, 1.2),
    "gelu, tanh": (lambda: Activation("gelu_tanh"), IMAGE, 1.2),
    "silu": (lambda: Activation("silu"), IMAGE, 1.2),
    "mish": (lambda: Activation("mish"), IMAGE, 1.2),
    "selu": (lambda: Activation("selu"), IMAGE, 1.2),
    "celu": (lambda: Activation("celu", 0.7), IMAGE, TIGHT),
    "hardtanh": (lambda: Activation("hardtanh", -0.3, 0.4), IMAGE, TIGHT),
    "clamp from below": (lambda: Activation("clamp_min", 0.3), IMAGE, TIGHT),
    "clamp from above": (lambda: Activation("clamp_max", 0.3), IMAGE, TIGHT),
    "softplus": (lambda: Activation("softplus", 2.0), IMAGE, 1.1),
    "log sigmoid": (lambda: Activation("log_sigmoid"), IMAGE, 1.2),
    "hardswish": (lambda: Activation("hardswish"), IMAGE, 1.2),
    "hardsigmoid": (lambda: Activation("hardsigmoid"), IMAGE, TIGHT),
    "softsign": (lambda: Activation("softsign"), IMAGE, 1.1),
    "tanhshrink": (lambda: Activation("tanhshrink"), IMAGE, 1.2),
    "softshrink": (lambda: Activation("softshrink", 0.3), IMAGE, TIGHT),
    "sin": (lambda: Activation("sin"), IMAGE, 1.1),
    "cos": (lambda: Activation("cos"), IMAGE, 1.1),
    "atan": (lambda: Activation("atan"), IMAGE, 1.1),
    "erf": (lambda: Activation("erf"), IMAGE, 1.1),
    "prelu": (lambda: PReLU(2 * draw(4)), IMAGE, TIGHT),
    "conv, reflect": (lambda: conv(3, 4, 3, 3, padding=SAME, padding_mode="reflect"), IMAGE, TIGHT),
    "conv, replicate": (lambda: conv(3, 4, 3, 3, padding=(3, 1, 0, 2), padding_mode="replicate"), IMAGE, TIGHT),
    "transposed conv": (
        lambda: ConvTranspose(draw(4, 3, 3, 2), draw(6), (2, 3), (1, 0), (1, 2), (1, 2), 2),
        IMAGE,
        TIGHT,
    ),
    "pad, zeros": (lambda: Pad((1, 2, 0, 3)), IMAGE, TIGHT),
    "pad, circular": (lambda: Pad((1, 2, 0, 3), "circular"), IMAGE, TIGHT),
    "pad, reflect": (lambda: Pad((1, 2, 0, 3), "reflect"), IMAGE, TIGHT),
    "pad, replicate": (lambda: Pad((1, 2, 0, 3), "replicate"), IMAGE, TIGHT),
    "repeat": (lambda: Repeat((2, 3)), IMAGE, TIGHT),
    "gather": (lambda: Gather((3, 1, 0, 2)), IMAGE, TIGHT),
    "gather, one twice": (lambda: Gather((3, 1, 3)), IMAGE, TIGHT),
    "group sort": (lambda: GroupSort(2), IMAGE, TIGHT),
    "full sort": (lambda: GroupSort(40), (40,), TIGHT),
    "reshape": (lambda: Reshape((9, 4, 4)), IMAGE, TIGHT),
    "flatten": (lambda: Flatten(), IMAGE, TIGHT),
    "pixel shuffle": (lambda: PixelShuffle(2), IMAGE, TIGHT),
    "pixel unshuffle": (lambda: PixelUnshuffle(2), IMAGE, TIGHT),
    "channel shuffle": (lambda: ChannelShuffle(2), IMAGE, TIGHT),
    "spatial shift": (lambda: SpatialShift(2), (9, 5, 4), TIGHT),
    "spatial shift, all channels, one row": (lambda: SpatialShift(1), (4, 1, 6), TIGHT),
    "partial abs": (lambda: PartialAbs(3), IMAGE, TIGHT),
    "partial abs of features": (lambda: PartialAbs(40), (40,), TIGHT),
    "concat": (lambda: Concat((conv(4, 4, 3, 3, padding=SAME), Activation("relu")), (Scale(draw(4)),)), IMAGE, 3.0),
    "concat of different channels": (
        lambda: Concat((Gather((2, 0)), Scale(torch.tensor(0.3))), (Gather((1, 3)), conv(3, 2, 3, 3, padding=SAME))),
        IMAGE,
        TIGHT,
    ),
    "concat of a channel taken twice": (lambda: Concat((Gather((2, 0)),), (Gather((1, 2, 3)),)), IMAGE, TIGHT),
    "concat of the same": (lambda: Concat((Scale(torch.tensor(2.5)),)), IMAGE, TIGHT),
    "concat in a residual": (
        lambda: Residual((Concat((Dense(draw(20, 40) / 8),), (Dense(draw(20, 40) / 8), Activation("tanh"))),)),
        (40,),
        4.0,
    ),
    "convex potential, every slope 1": (
        lambda: ConvexPotential(draw(5, 4, 3, 3) / 4, 30 + draw(5), 1 + draw(5).abs(), (1, 1)),
        IMAGE,
        TIGHT,
    ),
    "convex potential that keeps directions": (
        lambda: ConvexPotential(draw(2, 4, 2, 3) / 6, draw(2), draw(2).abs(), (0, 2)),
        IMAGE,
        TIGHT,
    ),
    "convex potential, long sums": (
        lambda: ConvexPotential(draw(64, 40, 3, 3) / 20, draw(64), draw(64).abs(), (1, 1)),
        (40, 3, 3),
        2.0,
    ),
    "convex potential of features": (
        lambda: ConvexPotential(draw(3, 40, 1, 1) / 9, draw(3), draw(3).abs()),
        (40, 1, 1),
        TIGHT,
    ),
    "residual": (
        lambda: Residual((conv(4, 4, 3, 3, padding=SAME), Activation("relu"), conv(4, 4, 1, 1))),
        IMAGE,
        3.0,
    ),
    "residual of a multiple": (lambda: Residual((Scale(torch.tensor(2.5)),)), IMAGE, TIGHT),
    "residual with a shortcut": (
        lambda: Residual(
            (conv(6, 4, 3, 3, stride=(2, 2), padding=SAME), Offset(draw(6)), MinMax()),
            (AvgPool((2, 2), (2, 2)), conv(6, 4, 1, 1)),
        ),
        IMAGE,
        3.0,
    ),
    "residual in a residual": (
        lambda: Residual((Dense(draw(40, 40) / 8), Residual((Activation("tanh"), Dense(draw(40, 40) / 8))))),
        (40,),
        4.0,
    ),
}


@pytest.mark.parametrize("case", CASES)
class TestOperators(OperatorTests):
    """One class for all: `case` is put in by the fixture."""

    @pytest.fixture(autouse=True)
    def _choose(self, case: str) -> None:
        self._make, self._shape, self.looseness = CASES[case]

    def make(self) -> Operator:
        return self._make()

    def inputs(self) -> Tensor:
        return away_from(0.0, away_from(0.3, draw(4, *self._shape, seed=7)))


def test_every_kind_is_tried() -> None:
    assert {make().kind for make, _, _ in CASES.values()} | {"head"} == BUILT_IN


def test_a_shift_moves_each_group_its_way() -> None:
    """Every entry by its index, around the border."""
    x, (height, width) = draw(1, 9, 3, 4), (3, 4)
    moved = SpatialShift(2).apply(x)
    for channel, (down, right) in enumerate([(-1, 0)] * 2 + [(1, 0)] * 2 + [(0, -1)] * 2 + [(0, 1)] * 2 + [(0, 0)]):
        for row in range(height):
            for column in range(width):
                place = (row + down) % height, (column + right) % width
                assert moved[0, channel, place[0], place[1]] == x[0, channel, row, column]


def test_half_of_partial_abs_is_minmax_between_rotations() -> None:
    x = draw(5, 6).double()
    turn = torch.kron(torch.tensor([[1.0, 1.0], [1.0, -1.0]]), torch.eye(3)).double() / 2**0.5
    turned = PartialAbs(3).apply(x @ turn[[3, 4, 5, 0, 1, 2]].T) @ turn[[3, 4, 5, 0, 1, 2]]
    torch.testing.assert_close(turned, MinMax().apply(x))


@pytest.mark.parametrize(
    ("operator", "shape"),
    [
        (SpatialShift(2), (7, 3, 3)),
        (SpatialShift(1), (8,)),
        (PartialAbs(5), IMAGE),
        (Offset(draw(1, 6, 5)), IMAGE),
        (Offset(draw(6, 6)), IMAGE),
        (Offset(draw(2, 6, 6)), IMAGE),
    ],
)
def test_what_does_not_fit_is_refused(operator: Operator, shape: tuple[int, ...]) -> None:
    with pytest.raises(UnsupportedLayerError, match=f"{operator.kind}.*{re.escape(str(shape))}"):
        operator.output_shape(shape)


@pytest.mark.parametrize("kind", ["spatial_shift", "partial_abs", "offset"])
def test_500_random_instances_keep_every_length(kind: str) -> None:
    """All singular values of the Jacobian at a random point are 1, as the bound says."""
    for seed in range(500):
        random = Random(seed)
        shape = (random.randint(1, 6), random.randint(1, 3), random.randint(1, 3))
        operator = {
            "spatial_shift": SpatialShift(random.randint(0, shape[0] // 4)),
            "partial_abs": PartialAbs(random.randint(0, shape[0])),
            "offset": Offset(draw(*(random.choice([1, side]) for side in shape)).double()),
        }[kind]
        jacobian = torch.autograd.functional.jacobian(operator.apply, draw(1, *shape, seed=seed).double())
        assert isinstance(jacobian, Tensor)
        values = torch.linalg.svdvals(jacobian.reshape(math.prod(shape), -1))
        torch.testing.assert_close(values, torch.ones_like(values), rtol=0, atol=1e-12)
        assert operator.lipschitz_upper_bound(shape).value == 1.0
