"""Random small networks whose layers multiply by powers of two from 2^-75 to 2^75, shift far and back, and square."""

from __future__ import annotations

import random

import torch
from torch import Tensor

import lip_plugin as lp
from lip_plugin.network import Activation, AvgPool, Conv, Dense, Flatten, Head, L2Pool, MinMax, Offset, Operator, Scale

SHAPE = (2, 4, 4)


def odd_network(seed: int) -> lp.CertifiedClassifier | None:
    """None where the network cannot be built in float32: a factor that overflows."""
    choose = random.Random(seed)
    generator = torch.Generator().manual_seed(seed)

    def draw(*size: int) -> Tensor:
        return torch.randn(size, generator=generator)

    def odd() -> float:
        return 2.0 ** choose.choice([0, 0, choose.randint(-75, 75), choose.randint(-20, 20)])

    def block(channels: int) -> list[Operator]:
        scale, shift = odd(), odd()
        there_and_back: list[Operator] = [Scale(torch.tensor(scale)), Scale(torch.tensor(1.0 / scale))]
        far: list[Operator] = [Offset(torch.tensor(shift)), Offset(torch.tensor(-shift))]
        middle: list[Operator] = choose.choice(
            [
                [Conv(draw(channels, channels, 3, 3) / 4, draw(channels) * odd(), padding=(1, 1, 1, 1))],
                [MinMax()],
                [Activation(choose.choice(["relu", "abs", "tanh", "leaky_relu"]), 0.3)],
                [L2Pool((1, 1))],
                [L2Pool((2, 1))] if choose.random() < 0.2 else [],
                far,
            ]
        )
        return [there_and_back[0], *middle, there_and_back[1]] if choose.random() < 0.7 else [*far, *middle]

    layers: list[Operator] = [Offset(draw(2) / 4)]
    for _ in range(choose.randint(1, 4)):
        layers += block(2)
        layers += [AvgPool((2, 2), (1, 1), (1, 1))] if choose.random() < 0.2 else []
    layers.append(Flatten())
    try:
        shape: tuple[int, ...] = SHAPE
        for layer in layers:
            shape = layer.output_shape(shape)
        if choose.random() < 0.7:
            layers += [Dense(draw(6, *shape) * odd(), draw(6) * odd()), Activation("relu")]
            shape = (6,)
        head = Head(draw(3, *shape) * odd(), draw(3) * odd() if choose.random() < 0.7 else None)
        return lp.CertifiedClassifier(layers, head, input_shape=SHAPE)
    except lp.UnsupportedLayerError:
        return None
