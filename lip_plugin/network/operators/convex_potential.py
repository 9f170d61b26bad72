"""A gradient step on a convex potential: the residual block of CPL and SLL, of constant 1 where it is small."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from lip_plugin.bounds import NormBound, potential_step_upper_bound
from lip_plugin.errors import UnsupportedLayerError
from lip_plugin.network.operators.base import (
    NormEstimates,
    Operator,
    Rounding,
    RoundingTerm,
    require_ints,
    require_map,
    require_tensor,
)
from lip_plugin.network.operators.conv import Conv
from lip_plugin.network.operators.entrywise import Entrywise
from lip_plugin.network.operators.plain_layer import PlainLayer
from lip_plugin.network.operators.pointwise import Activation, Offset, Scale
from lip_plugin.network.operators.residual import Residual
from lip_plugin.types import Shape

_STEP = '''\
def potential_step(x, weight, bias, scale, padding, back, sizes):
    """x - W^T (scale * relu(W x + bias)), sums made in parts of the channels: shorter sums round less."""

    def conv(v, kernel, padding, size):
        pieces = zip(v.split(size, 1), kernel.split(size, 1))
        return sum(F.conv2d(piece, part, None, padding=padding) for piece, part in pieces)

    hidden = F.relu(conv(x, weight, padding, sizes[0]) + bias.view(-1, 1, 1)) * -scale.view(-1, 1, 1)
    return x + conv(hidden, weight.transpose(0, 1).flip(2, 3), back, sizes[1])
'''


@dataclass(frozen=True, eq=False)
class ConvexPotential(Entrywise):
    """y = x - W^T (scale * relu(W x + bias)), W a zero-padded convolution: weight (H, C, kh, kw), bias, scale (H,).

    Lip <= max(1, ||diag(scale)^(1/2) W||^2 - 1): see `bounds.potential`. Scales are at least 0. Dense layers are those
    with kernel 1 on maps of one pixel. It runs, and rounds, as the residual of the operators in `chains`.
    """

    kind: ClassVar[str] = "convex_potential"

    weight: Tensor
    bias: Tensor
    scale: Tensor
    padding: tuple[int, int] = (0, 0)

    def __post_init__(self) -> None:
        require_tensor(self.weight, "weight", 4)
        require_tensor(self.bias, "bias", 1)
        require_tensor(self.scale, "scale", 1)
        require_ints(self.padding, "padding", 2, 0)
        if 0 in self.weight.shape:
            raise UnsupportedLayerError(f"weight {tuple(self.weight.shape)} is empty")
        if not len(self.weight) == len(self.bias) == len(self.scale):
            found = f"{tuple(self.bias.shape)} and {tuple(self.scale.shape)}"
            raise UnsupportedLayerError(f"bias and scale {found} for {len(self.weight)} hidden channels")
        if any(pad >= taps for pad, taps in zip(self.padding, self.weight.shape[2:], strict=True)):
            raise UnsupportedLayerError(
                f"padding {self.padding} must be below the kernel {tuple(self.weight.shape[2:])}"
            )

    def chains(self) -> tuple[tuple[Operator, ...], ...]:
        """What is added to x. The adjoint of a convolution is that with its taps turned around, fully padded."""
        (high, wide), (top, left) = self.padding, self._back
        adjoint = self.weight.transpose(0, 1).flip(2, 3)
        branch = (
            Conv(self.weight, padding=(high, high, wide, wide)),
            Offset(self.bias),
            Activation("relu"),
            Scale(-self.scale),
            Conv(adjoint, padding=(top, top, left, left)),
        )
        return branch, ()

    @property
    def _back(self) -> tuple[int, int]:
        """Padding of the adjoint."""
        (high, wide), (height, width) = self.padding, self.weight.shape[2:]
        return height - 1 - high, width - 1 - wide

    @property
    def _residual(self) -> Residual:
        return Residual(*self.chains())

    def apply(self, x: Tensor) -> Tensor:
        return self._residual.apply(x)

    def output_shape(self, input_shape: Shape) -> Shape:
        require_map(input_shape, self.kind)
        return self._residual.output_shape(input_shape)

    def lipschitz_upper_bound(self, input_shape: Shape) -> NormBound:
        _, height, width = require_map(input_shape, self.kind)
        return potential_step_upper_bound(self.weight, self.scale, input_size=(height, width), padding=self.padding)

    def lipschitz_estimate(self, input_shape: Shape, norms: NormEstimates) -> Tensor:
        (high, wide), scale = self.padding, self.scale.sqrt().view(-1, 1, 1, 1)
        norm = norms.of(Conv(scale * self.weight, padding=(high, high, wide, wide)), input_shape)
        return (norm.square() - 1.0).clamp_min(1.0)

    def rounding_term(self, input_shape: Shape, unit: float) -> RoundingTerm:
        return self._residual.rounding_term(input_shape, unit)

    def float32_rounding(self, input_shape: Shape) -> Rounding:
        return self._residual.float32_rounding(input_shape)

    def plain_layer(self, input_shape: Shape) -> PlainLayer:
        there, *_, back = self.chains()[0]
        assert isinstance(there, Conv) and isinstance(back, Conv)
        dtype = ", dtype=torch.float64" if self.weight.dtype == torch.float64 else ""
        zeros = ", ".join(f"torch.zeros({tuple(value.shape)}{dtype})" for value in self.tensors().values())
        arguments = f"{self.padding}, {self._back}, ({there.part_size}, {back.part_size})"
        return PlainLayer(
            f"potential_step({{x}}, *{{self}}, {arguments})",
            self.kind,
            f"nn.ParameterList([{zeros}])",
            states=("0", "1", "2"),
            helpers=(_STEP,),
        )

    def describe(self) -> str:
        hidden, channels, height, width = self.weight.shape
        return f"step on a convex potential, {height}x{width}, {channels} channels through {hidden}"
