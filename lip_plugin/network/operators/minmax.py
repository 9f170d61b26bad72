"""MinMax: channel c sorted against channel c + C/2. 1-Lipschitz and gradient-norm preserving."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from lip_plugin.bounds import NormBound
from lip_plugin.errors import UnsupportedLayerError
from lip_plugin.network.operators.entrywise import Selecting
from lip_plugin.network.operators.plain_layer import PlainLayer
from lip_plugin.types import Shape

_BITS = {2: torch.int16, 4: torch.int32, 8: torch.int64}


class _MinMaxFunction(torch.autograd.Function):
    """One saved mask and one swap back; autograd through max and min spends twice as long on sharing ties.

    On a tie the first half receives the gradient of the maximum.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        a, b = x.chunk(2, dim=1)
        return torch.cat([torch.maximum(a, b), torch.minimum(a, b)], dim=1)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        a, b = inputs[0].chunk(2, dim=1)
        ctx.save_for_backward(a >= b)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> Tensor:
        back: Tensor = _SwapFunction.apply(grad_outputs[0], *ctx.saved_tensors)
        return back


class _SwapFunction(torch.autograd.Function):
    """The two halves of the channels, swapped where ``kept`` is false: linear, and its own transpose."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, kept: Tensor) -> Tensor:
        if x.device.type == "cpu":
            try:
                return _swapped_bits(x, kept)
            except RuntimeError:  # inside a vmap tensors have no bits
                pass
        a, b = x.chunk(2, dim=1)
        return torch.cat([torch.where(kept, a, b), torch.where(kept, b, a)], dim=1)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(inputs[1])

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None]:
        back: Tensor = _SwapFunction.apply(grad_outputs[0], *ctx.saved_tensors)
        return back, None


def _swapped_bits(x: Tensor, kept: Tensor) -> Tensor:
    """The same in a quarter of the time: `torch.where` takes one entry after the other on a CPU."""
    bits = x.view(_BITS[x.element_size()])
    a, b = bits.chunk(2, dim=1)
    unlike = (a ^ b).bitwise_and_(kept.to(bits.dtype).sub_(1))  # 0 - 1 is all ones
    out = bits.clone()
    for half in out.chunk(2, dim=1):
        half.bitwise_xor_(unlike)
    return out.view(x.dtype)


def minmax(x: Tensor) -> Tensor:
    """(B, C, ...) -> (B, C, ...): [max(a, b), min(a, b)] for the two halves a, b of the channels, C even."""
    if not (torch.is_grad_enabled() and x.requires_grad):
        return _MinMaxFunction.forward(x)
    out: Tensor = _MinMaxFunction.apply(x)
    return out


_PLAIN = '''\
def minmax(x):
    """The larger and the smaller of each pair of channels: c in the first half, c + C/2 in the second."""
    a, b = x.chunk(2, dim=1)
    return torch.cat([torch.maximum(a, b), torch.minimum(a, b)], dim=1)
'''


@dataclass(frozen=True, eq=False)
class MinMax(Selecting):
    """[max(a, b), min(a, b)] for the two halves of the channels. Lipschitz 1, exact in floating point."""

    kind: ClassVar[str] = "minmax"

    def apply(self, x: Tensor) -> Tensor:
        return minmax(x)

    def output_shape(self, input_shape: Shape) -> Shape:
        if input_shape[0] % 2:
            raise UnsupportedLayerError(f"minmax needs an even number of channels, got shape {input_shape}")
        return input_shape

    def lipschitz_upper_bound(self, input_shape: Shape) -> NormBound:
        return NormBound(1.0, "closed form")

    def plain_layer(self, input_shape: Shape) -> PlainLayer:
        return PlainLayer("minmax({x})", helpers=(_PLAIN,), wraps=True)

    def describe(self) -> str:
        return "MinMax"
