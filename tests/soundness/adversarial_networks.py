"""Networks whose weights are built against the certifier: linear maps between head and image, two classes.

Built from the canaries' parts in float64, images on both sides of the boundary; ``narrowed`` casts all of it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

import lip_plugin as lp
from lip_plugin.network import Conv, Dense, Flatten, Head
from lip_plugin.network.operators import Scale

SAME = (1, 1, 1, 1)


def narrowed(canary: Any, dtype: torch.dtype) -> Any:
    """Weights and images rounded to a dtype; the labels are those of the rounded network."""
    layers = [layer.map_tensors(lambda value: value.to(dtype)) for layer in canary.model.layers]
    head = layers.pop()
    assert isinstance(head, Head)
    model, x = lp.CertifiedClassifier(layers, head, input_shape=canary.model.input_shape), canary.x.to(dtype)
    return dataclasses.replace(canary, model=model, x=x, y=lp.certify(model, x).prediction)


def _checkerboard(size: int, *, stride: int = 1, mode: str = "zeros") -> Callable[[Any], Any]:
    """Its largest singular vector alternates: orthogonal to all-ones, and cut short by an odd map."""
    sign = (-1.0) ** torch.arange(3, dtype=torch.float64)
    layer = Conv((sign[:, None] * sign).view(1, 1, 3, 3), None, (stride, stride), SAME, padding_mode=mode)
    return lambda canaries: canaries.before_head([layer], canaries.sides(1, size, size))


def _channels_apart(canaries: Any) -> Any:
    """Steep only in the difference of its channels, and there in an alternating one."""
    alternating = torch.tensor([[0.0, -0.3, 0.0], [-0.3, 1.0, -0.3], [0.0, -0.3, 0.0]], dtype=torch.float64)
    apart = torch.tensor([[0.5, -0.5], [-0.5, 0.5]], dtype=torch.float64)
    weight = apart[:, :, None, None] * alternating + 0.01
    return canaries.before_head([Conv(weight, padding=SAME)], canaries.sides(2, 6, 6))


def _biases_inside(canaries: Any) -> Any:
    weight, bias = canaries.draw(2, 1, 3, 3, seed=1), torch.tensor([1e6, -2e6], dtype=torch.float64)
    return canaries.before_head([Conv(weight, bias, padding=SAME)], canaries.sides(1, 7, 7))


def _biases_of_logits(canaries: Any) -> Any:
    canary = canaries.before_head([Flatten()], canaries.sides(1, 7, 7))
    head = Head(canary.model.head_weight, canary.model.head_bias + 1e6)
    return dataclasses.replace(canary, model=lp.CertifiedClassifier([Flatten()], head, input_shape=(1, 7, 7)))


def _nearly_tied(canaries: Any) -> Any:
    """Images a few units in the last place from the boundary."""
    dense = Dense(canaries.draw(9, 16, seed=2))
    return canaries.before_head([Flatten(), dense], canaries.sides(1, 4, 4), 2e-15)


def _rows_alike(canaries: Any) -> Any:
    """Head rows 1e-6 apart, of length 5."""
    step, base = canaries.draw(25, seed=3), canaries.draw(25, seed=4)
    step *= 5e-7 / step.norm()
    weight = torch.stack([base + step, base - step])
    head = Head(weight, -weight @ torch.full((25,), 0.5, dtype=torch.float64))
    shift = (0.03 * step / step.norm()).view(1, 5, 5)
    model = lp.CertifiedClassifier([Flatten()], head, input_shape=(1, 5, 5))
    return canaries.Canary(model, torch.stack([0.5 + shift, 0.5 - shift]), torch.tensor([0, 1]))


def _steep_matrix(canaries: Any) -> Tensor:
    """(16, 16), singular values from 1e-3 to 1e3."""
    left, right = (torch.linalg.qr(canaries.draw(16, 16, seed=seed)).Q for seed in (5, 6))
    return left * torch.logspace(-3, 3, 16, dtype=torch.float64) @ right


def _matrix_and_inverse(canaries: Any) -> Any:
    """Nearly the identity, each factor of norm 1e3."""
    steep = _steep_matrix(canaries)
    layers = [Flatten(), Dense(steep), Dense(torch.linalg.inv(steep))]
    return canaries.before_head(layers, canaries.sides(1, 4, 4))


def _large_times_small(canaries: Any) -> Any:
    """The same singular directions, 1e8 and 1e-8 times as long."""
    left, right = (torch.linalg.qr(canaries.draw(16, 16, seed=seed)).Q for seed in (5, 6))
    return canaries.before_head([Flatten(), Dense(1e8 * right), Dense(1e-8 * left)], canaries.sides(1, 4, 4))


def _halves_that_cancel(size: float) -> Callable[[Any], Any]:
    """W x and (-W + 1e-6 V) x are added: what is left is 1e-6 V x."""

    def build(canaries: Any) -> Any:
        w, v = size * canaries.draw(9, 16, seed=7), 1e-6 * canaries.draw(9, 16, seed=8)
        add = torch.eye(9, dtype=torch.float64).repeat(1, 2)
        return canaries.before_head([Flatten(), Dense(torch.cat([w, v - w])), Dense(add)], canaries.sides(1, 4, 4))

    return build


def _scaled(first: float, last: float) -> Callable[[Any], Any]:
    """A power of two and back around a convolution: exact, unless something overflows or underflows."""

    def build(canaries: Any) -> Any:
        before, after = (Scale(torch.tensor(scale, dtype=torch.float64)) for scale in (first, last))
        conv = Conv(canaries.draw(2, 1, 3, 3, seed=9), padding=SAME)
        return canaries.before_head([before, conv, after], canaries.sides(1, 6, 6))

    return build


@dataclass(frozen=True)
class Adversarial:
    """How to build a network, and the share of the margin over the product of singular values that must be certified.

    ``share`` in arithmetic "real" and "float64", ``share_float32`` in "float32"; 0 where rounding hides the margin.
    """

    build: Callable[[Any], Any]
    share: float = 1 - 1e-5
    share_float32: float = 0.0


NEARLY_ALL = 1 - 5e-5
ADVERSARIAL: dict[str, Adversarial] = {
    "checkerboard, 7 x 7": Adversarial(_checkerboard(7), share_float32=NEARLY_ALL),
    "checkerboard, 8 x 8": Adversarial(_checkerboard(8), share_float32=NEARLY_ALL),
    "checkerboard, 7 x 7, circular": Adversarial(_checkerboard(7, mode="circular"), share_float32=NEARLY_ALL),
    "checkerboard, 8 x 8, circular": Adversarial(_checkerboard(8, mode="circular"), share_float32=NEARLY_ALL),
    "checkerboard, 7 x 7, stride 2": Adversarial(_checkerboard(7, stride=2), share_float32=NEARLY_ALL),
    "checkerboard, 8 x 8, stride 2": Adversarial(_checkerboard(8, stride=2), share_float32=NEARLY_ALL),
    "channels apart": Adversarial(_channels_apart, share_float32=NEARLY_ALL),
    "biases of 1e6 inside": Adversarial(_biases_inside),
    "biases of 1e6 of logits": Adversarial(_biases_of_logits),
    "nearly tied logits": Adversarial(_nearly_tied, share=0.0),
    "head rows 1e-6 apart": Adversarial(_rows_alike),
    "a matrix and its inverse": Adversarial(_matrix_and_inverse),
    "large times small": Adversarial(_large_times_small, share_float32=NEARLY_ALL),
    "halves of 1 that cancel": Adversarial(_halves_that_cancel(1.0)),
    "halves of 1e8 that cancel": Adversarial(_halves_that_cancel(1e8), share=0.0),
    "2^40, then 2^-40": Adversarial(_scaled(2.0**40, 2.0**-40), share_float32=NEARLY_ALL),
    "2^-40, then 2^40": Adversarial(_scaled(2.0**-40, 2.0**40), share_float32=NEARLY_ALL),
}
