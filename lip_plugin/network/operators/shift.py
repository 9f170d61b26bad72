"""Circular shifts of groups of channels by one pixel: the only depthwise convolutions that keep norms (LipNeXt)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from lip_plugin.bounds import NormBound
from lip_plugin.errors import UnsupportedLayerError
from lip_plugin.network.operators.base import require_ints, require_map
from lip_plugin.network.operators.entrywise import Selecting
from lip_plugin.network.operators.plain_layer import PlainLayer
from lip_plugin.types import Shape

_MOVES = ((2, -1), (2, 1), (3, -1), (3, 1))
"""Dimension and direction of the four groups: up, down, left, right."""


class _ShiftFunction(torch.autograd.Function):
    """One pass each way, written in place; `torch.roll` of every group and `torch.cat` read and write twice."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, channels: int, direction: int) -> Tensor:
        out = torch.empty_like(x)
        for group, (dim, step) in enumerate(_MOVES):
            part, place = (one.narrow(1, group * channels, channels) for one in (x, out))
            rest = x.shape[dim] - 1
            old, new = (0, 1) if step * direction > 0 else (1, 0)  # where the rows that stay together begin
            place.narrow(dim, new, rest).copy_(part.narrow(dim, old, rest))
            place.narrow(dim, rest * old, 1).copy_(part.narrow(dim, rest * new, 1))  # around the border
        still = x.shape[1] - len(_MOVES) * channels
        out.narrow(1, len(_MOVES) * channels, still).copy_(x.narrow(1, len(_MOVES) * channels, still))
        return out

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, int, int], output: Tensor) -> None:
        _, ctx.channels, ctx.direction = inputs

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None, None]:
        back: Tensor = _ShiftFunction.apply(grad_outputs[0], ctx.channels, -ctx.direction)
        return back, None, None


def spatial_shift(x: Tensor, channels: int) -> Tensor:
    """(B, C, H, W) -> (B, C, H, W): the first ``channels`` channels move up, the next as many down, then left, right.

    By one pixel, around the border. The other channels stay.
    """
    if not (torch.is_grad_enabled() and x.requires_grad):
        return _ShiftFunction.forward(x, channels, 1)
    out: Tensor = _ShiftFunction.apply(x, channels, 1)
    return out


_PLAIN = '''\
def spatial_shift(x, channels):
    """The first channels one pixel up, the next as many down, then left, right, around the border; the others stay."""
    moves = ((2, -1), (2, 1), (3, -1), (3, 1))
    groups = [x[:, i * channels : (i + 1) * channels].roll(step, dim) for i, (dim, step) in enumerate(moves)]
    return torch.cat([*groups, x[:, 4 * channels :]], dim=1)
'''


@dataclass(frozen=True, eq=False)
class SpatialShift(Selecting):
    """Four groups of ``channels`` channels move by one pixel up, down, left and right, around the border.

    A permutation of entries: Lipschitz 1, exact in floating point. Source: LipNeXt (arXiv 2601.18513), whose Theorem 1
    says that circular depthwise convolutions keep norms only if they are shifts.
    """

    kind: ClassVar[str] = "spatial_shift"

    channels: int

    def __post_init__(self) -> None:
        require_ints((self.channels,), "channels", 1, 0)

    def apply(self, x: Tensor) -> Tensor:
        return spatial_shift(x, self.channels)

    def output_shape(self, input_shape: Shape) -> Shape:
        channels, height, width = require_map(input_shape, self.kind)
        if len(_MOVES) * self.channels > channels or 0 in (height, width):
            raise UnsupportedLayerError(f"{self.kind} of 4 x {self.channels} channels does not fit shape {input_shape}")
        return input_shape

    def lipschitz_upper_bound(self, input_shape: Shape) -> NormBound:
        return NormBound(1.0, "permutation")

    def plain_layer(self, input_shape: Shape) -> PlainLayer:
        return PlainLayer(f"spatial_shift({{x}}, {self.channels})", helpers=(_PLAIN,))

    def describe(self) -> str:
        return f"4 x {self.channels} channels moved by one pixel"
