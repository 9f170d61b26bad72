"""Networks of two to four pixels, whose decision boundaries can be worked out exactly or looked at point by point."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

import lip_plugin as lp
from lip_plugin.network import Activation, AvgPool, Conv, Dense, Flatten, Head, MaxPool, MinMax, Operator, Scale

LEVELS = 16
PYTHAGORAS = torch.tensor([[3.0, 4.0], [-4.0, 3.0]]) / 4
"""5/4 times a rotation, and exact in binary."""
REFLECTION = torch.tensor([[5.0, 12.0], [12.0, -5.0]]) / 16
"""13/16 times a reflection."""
BOX = torch.tensor([[1.0, 2.0, 2.0], [2.0, 1.0, -2.0], [2.0, -2.0, 1.0]]) / 2
"""3/2 times an orthogonal matrix."""

Draw = Callable[..., Tensor]


def eighths(seed: int) -> Draw:
    """Multiples of 1/8 in [-2, 2], of any shape."""
    generator = torch.Generator().manual_seed(seed)
    return lambda *shape: torch.randint(-16, 17, shape, generator=generator).float() / 8


def normal(seed: int) -> Draw:
    """float32 numbers with all of their digits."""
    generator = torch.Generator().manual_seed(seed)
    return lambda *shape: torch.randn(shape, generator=generator)


def images(shape: Sequence[int], count: int, seed: int, *, levels: int = LEVELS) -> Tensor:
    """(count, *shape) float32, multiples of 1/levels in [0, 1]."""
    generator = torch.Generator().manual_seed(1000 + seed)
    return torch.randint(0, levels + 1, (count, *shape), generator=generator).float() / levels


def balanced(operators: Sequence[Operator], weight: Tensor, shape: tuple[int, int, int]) -> lp.CertifiedClassifier:
    """A head (K, D) whose bias, a multiple of 1/8, brings the classes close together at the grey image."""
    draft = lp.CertifiedClassifier(operators, Head(weight), input_shape=shape)
    logits = draft(torch.full((1, *shape), 0.5))[0]
    return lp.CertifiedClassifier(operators, Head(weight, -(logits * 8).round() / 8), input_shape=shape)


def _linear(draw: Draw) -> lp.CertifiedClassifier:
    return balanced([Flatten()], draw(4, 3), (1, 1, 3))


def _plane(draw: Draw) -> lp.CertifiedClassifier:
    """Rotation, MinMax, reflection, absolute value: the gradient has the same length everywhere."""
    layers = [Flatten(), Dense(PYTHAGORAS), MinMax(), Dense(REFLECTION, draw(2) / 4), Activation("abs")]
    return balanced(layers, draw(3, 2), (1, 1, 2))


def _space(draw: Draw) -> lp.CertifiedClassifier:
    layers = [Flatten(), Dense(BOX, draw(3) / 4), Activation("abs"), Dense(BOX)]
    return balanced(layers, draw(3, 3), (1, 1, 3))


def _patches(draw: Draw) -> lp.CertifiedClassifier:
    """A rotation as a convolution of disjoint windows of 1x2 pixels."""
    conv = Conv(PYTHAGORAS.view(2, 1, 1, 2), draw(2) / 4, stride=(1, 2))
    return balanced([conv, MinMax(), Flatten()], draw(3, 2), (1, 1, 2))


def _relu(draw: Draw) -> lp.CertifiedClassifier:
    layers = [Flatten(), Dense(draw(4, 2), draw(4)), Activation("relu"), Dense(draw(3, 4), draw(3)), Activation("relu")]
    return balanced(layers, draw(3, 3), (1, 1, 2))


def _relu_of_three(draw: Draw) -> lp.CertifiedClassifier:
    return balanced([Flatten(), Dense(draw(5, 3), draw(5)), Activation("relu")], draw(3, 5), (3, 1, 1))


def _minmax(draw: Draw) -> lp.CertifiedClassifier:
    layers = [Flatten(), Dense(draw(4, 3), draw(4)), MinMax(), Dense(draw(4, 4), draw(4)), MinMax()]
    return balanced(layers, draw(2, 4), (1, 3, 1))


def _leaky(draw: Draw) -> lp.CertifiedClassifier:
    layers = [Scale(draw(1)), Flatten(), Dense(draw(4, 2), draw(4)), Activation("leaky_relu", 0.25)]
    return balanced(layers, draw(3, 4), (1, 2, 1))


def _pooled(draw: Draw) -> lp.CertifiedClassifier:
    """A padded convolution with overlapping windows, then the largest of two."""
    layers = [Conv(draw(2, 1, 1, 2), draw(2), padding=(0, 0, 1, 1)), MaxPool((1, 2), (1, 2)), Flatten()]
    return balanced(layers, draw(3, 4), (1, 1, 3))


def _averaged(draw: Draw) -> lp.CertifiedClassifier:
    layers = [Conv(draw(2, 1, 1, 2), draw(2)), Activation("relu"), AvgPool((1, 2), (1, 1), (0, 1)), Flatten()]
    return balanced(layers, draw(2, 6), (1, 1, 3))


TIGHT: dict[str, Callable[[Draw], lp.CertifiedClassifier]] = {
    "linear": _linear,
    "rotations of the plane": _plane,
    "rotations of space": _space,
    "patches": _patches,
}
"""Where a step against the gradient changes the gap as fast as the Lipschitz bound says."""
LOOSE: dict[str, Callable[[Draw], lp.CertifiedClassifier]] = {
    "relu": _relu,
    "relu of three": _relu_of_three,
    "minmax": _minmax,
    "leaky": _leaky,
    "max pool": _pooled,
    "average pool": _averaged,
}


def _axis(draw: Draw) -> lp.CertifiedClassifier:
    """One pixel against another: the boundary runs through points of every grid."""
    return balanced([Flatten()], torch.tensor([[2.0, 0, 0, 0], [0, 2.0, 0, 0]]), (1, 2, 2))


def _windows(draw: Draw) -> lp.CertifiedClassifier:
    """Disjoint windows through an orthogonal kernel, sorted."""
    kernel = torch.tensor([[1.0, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1], [1, -1, -1, 1]]) / 2
    return balanced([Conv(kernel.view(4, 1, 2, 2)), MinMax(), Flatten()], draw(3, 4), (1, 2, 2))


def _overlapping(draw: Draw) -> lp.CertifiedClassifier:
    layers = [
        Conv(draw(2, 1, 2, 2), draw(2), padding=(1, 0, 0, 1)),
        Activation("relu"),
        MaxPool((2, 2), (1, 1), (1, 1)),
    ]
    return balanced([*layers, Flatten()], draw(3, 18), (1, 2, 2))


def _circular(draw: Draw) -> lp.CertifiedClassifier:
    layers = [Conv(draw(2, 1, 2, 2), draw(2), padding=(1, 0, 1, 0), padding_mode="circular"), MinMax()]
    return balanced([*layers, AvgPool((2, 1), (1, 1)), Flatten()], draw(3, 4), (1, 2, 2))


def _strided(draw: Draw) -> lp.CertifiedClassifier:
    layers = [Conv(draw(4, 1, 1, 2), draw(4), (2, 1), (0, 1, 1, 0)), Activation("abs"), AvgPool((1, 2), (1, 2))]
    return balanced([*layers, Flatten(), Dense(draw(4, 8), draw(4)), MinMax()], draw(2, 4), (1, 2, 2))


FOUR_PIXELS: dict[str, Callable[[Draw], lp.CertifiedClassifier]] = {
    "one pixel against another": _axis,
    "sorted windows": _windows,
    "overlapping windows": _overlapping,
    "circular": _circular,
    "strided": _strided,
}
