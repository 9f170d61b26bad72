"""Networks in which rounding matters: large biases that cancel, rows that nearly agree, logits near 2^20.

All of them attain their Lipschitz bound near the grey image, so that a radius ends at the decision boundary. In
float64 what cancels is 2^29 times as large: the two formats differ by as much, so that they round alike.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

import lip_plugin as lp
from lip_plugin.network import Activation, Conv, Dense, Flatten, Head, MinMax, Operator

SHAPE = (1, 8, 8)
PIXELS = 64
Draw = Callable[..., Tensor]


def _draw(seed: int) -> Draw:
    generator = torch.Generator().manual_seed(seed)
    return lambda *shape: torch.randn(shape, generator=generator, dtype=torch.float64)


def orthonormal(draw: Draw, rows: int, columns: int) -> Tensor:
    """(rows, columns) with orthonormal rows."""
    return torch.linalg.qr(draw(columns, rows)).Q.T


def grey_images(count: int, seed: int) -> Tensor:
    """(count, 1, 8, 8) float32 around 0.5, at distances from 1 down to 1e-6: margins from large to a few roundings."""
    draw = _draw(seed + 500)
    exponent = -0.8 - 6 * torch.linspace(0, 1, count, dtype=torch.float64) ** 3
    return (0.5 + 10 ** exponent.view(-1, 1, 1, 1) * draw(count, *SHAPE).clamp(-3, 3)).float()


def _balanced(operators: Sequence[Operator], weight: Tensor, dtype: torch.dtype) -> lp.CertifiedClassifier:
    """All classes nearly tie at the grey image."""
    layers = [layer.map_tensors(lambda value: value.to(dtype)) for layer in operators]
    weight = weight.to(dtype)
    wide = [layer.map_tensors(torch.Tensor.double) for layer in layers]
    draft = lp.CertifiedClassifier(wide, Head(weight.double()), input_shape=SHAPE)
    bias = -draft(torch.full((1, *SHAPE), 0.5, dtype=torch.float64))[0]
    return lp.CertifiedClassifier(layers, Head(weight, bias.to(dtype)), input_shape=SHAPE)


def _magnified(dtype: torch.dtype) -> float:
    return 2.0**29 if dtype == torch.float64 else 1.0


def linear(seed: int, dtype: torch.dtype) -> lp.CertifiedClassifier:
    return _balanced([Flatten()], _draw(seed)(3, PIXELS), dtype)


def logits_near_two_to_the_twenty(seed: int, dtype: torch.dtype) -> lp.CertifiedClassifier:
    plain = _balanced([Flatten()], 40 * _draw(seed)(2, PIXELS), dtype)
    bias = plain.head_bias + 2.0**20 * _magnified(dtype)
    return lp.CertifiedClassifier([Flatten()], Head(plain.head_weight, bias), input_shape=SHAPE)


def rows_that_nearly_cancel(seed: int, dtype: torch.dtype) -> lp.CertifiedClassifier:
    draw = _draw(seed)
    return _balanced([Flatten()], 100 * _magnified(dtype) * draw(1, PIXELS) + 0.05 * draw(3, PIXELS), dtype)


def sums_that_vanish(seed: int, dtype: torch.dtype) -> lp.CertifiedClassifier:
    """Features near zero: in float32 storage all that rounds noticeably is the image itself."""
    draw = _draw(seed)
    weight = orthonormal(draw, 2, PIXELS)
    return _balanced([Flatten(), Dense(weight, -weight.sum(1) / 2)], draw(3, 2), dtype)


def relu_with_large_biases(seed: int, dtype: torch.dtype) -> lp.CertifiedClassifier:
    """Every unit is active near the images: 1e6 goes in with the biases and out again with the head's."""
    draw = _draw(seed)
    dense = Dense(2000 * orthonormal(draw, 32, PIXELS), (1e6 + 1000 * draw(32)) * _magnified(dtype))
    return _balanced([Flatten(), dense, Activation("relu")], draw(3, 32), dtype)


def rotations_and_minmax(seed: int, dtype: torch.dtype) -> lp.CertifiedClassifier:
    draw = _draw(seed)
    first, second = (Dense(orthonormal(draw, PIXELS, PIXELS), 10 * draw(PIXELS)) for _ in range(2))
    return _balanced([Flatten(), first, MinMax(), second], draw(4, PIXELS), dtype)


def patches(seed: int, dtype: torch.dtype) -> lp.CertifiedClassifier:
    """A convolution of disjoint windows with an orthogonal kernel, sorted, and a dense layer."""
    draw = _draw(seed)
    conv = Conv(orthonormal(draw, 4, 4).view(4, 1, 2, 2), 100 * draw(4), stride=(2, 2))
    return _balanced([conv, MinMax(), Flatten(), Dense(orthonormal(draw, 32, PIXELS))], draw(3, 32), dtype)


def padded_convolution(seed: int, dtype: torch.dtype) -> lp.CertifiedClassifier:
    """3x3 with zero padding and large biases; the head looks along the layer's leading singular vector."""
    draw = _draw(seed)
    conv = Conv(draw(2, 1, 3, 3).to(dtype), ((1e3 + draw(2)) * _magnified(dtype)).to(dtype), padding=(1, 1, 1, 1))
    units = torch.eye(PIXELS, dtype=torch.float64).view(-1, *SHAPE)
    matrix = torch.nn.functional.conv2d(units, conv.weight.double(), padding=1).flatten(1).T
    leading = torch.linalg.svd(matrix).U[:, 0]
    return _balanced([conv, Activation("relu"), Flatten()], torch.stack([leading, -leading]), dtype)


NETWORKS: dict[str, Callable[[int, torch.dtype], lp.CertifiedClassifier]] = {
    "linear": linear,
    "logits near 2^20": logits_near_two_to_the_twenty,
    "rows that nearly cancel": rows_that_nearly_cancel,
    "sums that vanish": sums_that_vanish,
    "relu with large biases": relu_with_large_biases,
    "rotations and minmax": rotations_and_minmax,
    "patches": patches,
    "padded convolution": padded_convolution,
}
