"""A network with every operator in it, small enough for explicit Jacobians."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from lip_plugin.network import (
    Activation,
    AvgPool,
    CertifiedClassifier,
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
    Head,
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


def _operators(randn: Callable[..., Tensor], dtype: torch.dtype) -> list[Operator]:
    """(3, 8, 8) -> (4,) features through every kind there is."""
    return [
        Offset(torch.tensor(-0.5, dtype=dtype)),
        Conv(0.3 * randn(4, 3, 3, 3, seed=1, dtype=dtype), randn(4, seed=2, dtype=dtype), padding=(1, 1, 1, 1)),
        MinMax(),
        Scale(randn(4, seed=3, dtype=dtype)),
        Offset(randn(4, seed=4, dtype=dtype)),
        PixelUnshuffle(2),
        ChannelShuffle(4),
        PixelShuffle(2),
        Activation("elu", 0.7),
        Residual((Scale(torch.tensor(0.5, dtype=dtype)), MinMax()), (ChannelShuffle(2),)),
        Conv(randn(4, 2, 2, 3, seed=5, dtype=dtype), padding=(0, 1, 1, 1), groups=2, padding_mode="circular"),
        AvgPool((3, 3), (1, 1), (1, 1)),
        MaxPool((3, 3), (1, 1), (1, 1)),
        L2Pool((2, 2)),
        Activation("leaky_relu", 0.2),
        SpatialShift(1),
        PartialAbs(3),
        Concat((Gather((0, 1)),), (Gather((2, 3)),)),
        GroupSort(4),
        Gather((2, 0, 3, 1)),
        PReLU(randn(4, seed=10, dtype=dtype)),
        Pad((1, 0, 2, 1), "reflect"),
        ConvTranspose(0.3 * randn(4, 2, 3, 3, seed=11, dtype=dtype), padding=(1, 1), groups=2),
        AvgPool((2, 4), (1, 1)),
        Repeat((2, 1)),
        AvgPool((2, 1), (2, 1)),
        ConvexPotential(
            0.2 * randn(2, 4, 3, 3, seed=12, dtype=dtype),
            randn(2, seed=13, dtype=dtype),
            randn(2, seed=14, dtype=dtype).abs(),
            (1, 1),
        ),
        FrequencyConv(0.3 * randn(4, 3, 8, 2, seed=15, dtype=dtype)),
        FrequencyMatrix(0.3 * randn(4, 3, 8, 4, seed=16, dtype=dtype)),
        Reshape((2, 2, 4, 4)),
        Flatten(),
        Dense(0.2 * randn(4, 64, seed=6, dtype=dtype), randn(4, seed=7, dtype=dtype)),
        Activation("tanh"),
        Activation("sigmoid"),
        Activation("abs"),
        Activation("relu"),
    ]


@pytest.fixture
def make_network(randn: Callable[..., Tensor]) -> Callable[[torch.dtype], CertifiedClassifier]:
    """dtype -> a classifier of (3, 8, 8) images that uses every operator kind."""

    def make(dtype: torch.dtype) -> CertifiedClassifier:
        head = Head(randn(3, 4, seed=8, dtype=dtype), randn(3, seed=9, dtype=dtype))
        return CertifiedClassifier(_operators(randn, dtype), head, input_shape=(3, 8, 8))

    return make


@pytest.fixture
def network(make_network: Callable[[torch.dtype], CertifiedClassifier]) -> CertifiedClassifier:
    """The float64 one."""
    return make_network(torch.float64)
