"""Pooling: average (linear), maximum, and L2 over disjoint windows."""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor

from lip_plugin.bounds import (
    NormBound,
    average_pool_norm_upper_bound,
    l2_pool_norm_upper_bound,
    max_pool_norm_upper_bound,
)
from lip_plugin.bounds.rounding import mul_up
from lip_plugin.errors import UnsupportedLayerError
from lip_plugin.network.operators.base import (
    FLOAT32_UNIT,
    Operator,
    Rounding,
    RoundingAt,
    RoundingTerm,
    Windows,
    map_windows,
    require_ints,
    require_map,
    window_entries,
)
from lip_plugin.network.operators.plain_layer import PlainLayer, short
from lip_plugin.network.operators.rounding import gamma_upper_bound, underflow_upper_bound
from lip_plugin.types import Shape


@dataclass(frozen=True, eq=False)
class _Pool(Operator):
    """Windows of ``kernel`` at distance ``stride``; incomplete windows at the end are dropped."""

    kernel: tuple[int, int]

    def __post_init__(self) -> None:
        require_ints(self.kernel, "kernel", 2, 1)

    def _require_half_padding(self) -> None:
        """What torch requires: padding of at most half the kernel as it is spread by dilation."""
        _, paddings, dilations = self.window()
        for extent, pad, dilation in zip(self.kernel, paddings, dilations, strict=True):
            if 2 * pad > dilation * (extent - 1) + 1:
                raise UnsupportedLayerError(f"{self.kind} padding {paddings} exceeds half the kernel {self.kernel}")

    @abstractmethod
    def window(self) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int]]:
        """(stride, padding per side, dilation)"""

    def output_shape(self, input_shape: Shape) -> Shape:
        channels, *sizes = require_map(input_shape, self.kind)
        out = [
            (size + 2 * pad - dilation * (extent - 1) - 1) // stride + 1
            for size, extent, stride, pad, dilation in zip(sizes, self.kernel, *self.window(), strict=True)
        ]
        if min(out) < 1:
            raise UnsupportedLayerError(f"{self.kind} with kernel {self.kernel} leaves nothing of shape {input_shape}")
        return (channels, *out)

    def windows(self, input_shape: Shape) -> tuple[Windows, ...]:
        stride, padding, dilation = self.window()
        both = (2 * padding[0], 2 * padding[1])
        return map_windows(input_shape, taps=self.kernel, stride=stride, padding=both, dilation=dilation)

    def work(self, input_shape: Shape) -> int:
        return window_entries(input_shape[0], self.windows(input_shape))

    def describe(self) -> str:
        height, width = self.kernel
        return f"{height}x{width} {self.kind.replace('_', ' ')}, stride {short(self.window()[0])}"


@dataclass(frozen=True, eq=False)
class AvgPool(_Pool):
    """Average pooling; padding counts as zeros (torch: count_include_pad=True, ceil_mode=False)."""

    kind: ClassVar[str] = "avg_pool"

    stride: tuple[int, int]
    padding: tuple[int, int] = (0, 0)

    def __post_init__(self) -> None:
        super().__post_init__()
        require_ints(self.stride, "stride", 2, 1)
        require_ints(self.padding, "padding", 2, 0)
        self._require_half_padding()

    def window(self) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int]]:
        return self.stride, self.padding, (1, 1)

    def apply(self, x: Tensor) -> Tensor:
        return F.avg_pool2d(x, self.kernel, self.stride, self.padding)

    def lipschitz_upper_bound(self, input_shape: Shape) -> NormBound:
        _, height, width = require_map(input_shape, self.kind)
        return average_pool_norm_upper_bound(
            self.kernel, input_size=(height, width), stride=self.stride, padding=self.padding
        )

    def rounding_term(self, input_shape: Shape, unit: float) -> RoundingTerm:
        """A sum of n entries and a division; the operator is its own absolute value."""
        count = math.prod(self.kernel)
        relative = mul_up(gamma_upper_bound(count + 2, unit), self.lipschitz_upper_bound(input_shape).value)
        return RoundingTerm(relative, underflow_upper_bound(unit, count, math.prod(self.output_shape(input_shape))))

    def float32_rounding(self, input_shape: Shape) -> Rounding:
        """The sum over a window of n entries is at most sqrt(n) times the norm of the image."""
        term, swell = self.rounding_term(input_shape, FLOAT32_UNIT), 2.0 * math.sqrt(math.prod(self.kernel))
        return lambda x, y, norm: RoundingAt.by_term(term, norm, swell)

    def plain_layer(self, input_shape: Shape) -> PlainLayer:
        return PlainLayer(f"F.avg_pool2d({{x}}, {short(self.kernel)}, {short(self.stride)}, {short(self.padding)})")


@dataclass(frozen=True, eq=False)
class MaxPool(_Pool):
    """Max pooling; padding never wins. Exact in floating point."""

    kind: ClassVar[str] = "max_pool"

    stride: tuple[int, int]
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)

    def __post_init__(self) -> None:
        super().__post_init__()
        require_ints(self.stride, "stride", 2, 1)
        require_ints(self.padding, "padding", 2, 0)
        require_ints(self.dilation, "dilation", 2, 1)
        self._require_half_padding()

    def window(self) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int]]:
        return self.stride, self.padding, self.dilation

    def apply(self, x: Tensor) -> Tensor:
        return F.max_pool2d(x, self.kernel, self.stride, self.padding, self.dilation)

    def output_shape(self, input_shape: Shape) -> Shape:
        out = super().output_shape(input_shape)
        for size, outputs, *axis in zip(input_shape[1:], out[1:], self.kernel, *self.window(), strict=True):
            taps, stride, pad, dilation = axis
            for start in range(-pad, -pad + outputs * stride, stride):
                if not any(0 <= start + dilation * tap < size for tap in range(taps)):
                    raise UnsupportedLayerError(f"max_pool has windows of padding alone on shape {input_shape}")
        return out

    def lipschitz_upper_bound(self, input_shape: Shape) -> NormBound:
        return max_pool_norm_upper_bound(self.kernel, stride=self.stride, dilation=self.dilation)

    def rounding_term(self, input_shape: Shape, unit: float) -> RoundingTerm:
        return RoundingTerm.EXACT

    def plain_layer(self, input_shape: Shape) -> PlainLayer:
        settings = ", ".join(short(pair) for pair in (self.kernel, self.stride, self.padding, self.dilation))
        return PlainLayer(f"F.max_pool2d({{x}}, {settings})")


_PLAIN_L2_POOL = '''\
def l2_pool(x, kernel, root_of_size):
    """The L2 norm of disjoint windows; its gradient is 0 where a window is all zeros."""
    mean_square = F.avg_pool2d(x * x, kernel)
    positive = mean_square > 0
    root = mean_square.where(positive, mean_square.new_ones(())).sqrt()
    return root.where(positive, root.new_zeros(())) * root_of_size
'''


@dataclass(frozen=True, eq=False)
class L2Pool(_Pool):
    """The L2 norm of disjoint windows, stride = kernel. 1-Lipschitz.

    Written as a plain sum of squares rather than torch's lp_pool2d, which rounds through a power and
    a sign; the gradient at an all-zero window is taken as 0.
    """

    kind: ClassVar[str] = "l2_pool"

    def window(self) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int]]:
        return self.kernel, (0, 0), (1, 1)

    def apply(self, x: Tensor) -> Tensor:
        mean_square = F.avg_pool2d(x * x, self.kernel)
        positive = mean_square > 0
        root = mean_square.where(positive, mean_square.new_ones(())).sqrt()
        return root.where(positive, root.new_zeros(())) * math.sqrt(math.prod(self.kernel))

    def lipschitz_upper_bound(self, input_shape: Shape) -> NormBound:
        return l2_pool_norm_upper_bound(self.kernel, stride=self.kernel)

    def rounding_term(self, input_shape: Shape, unit: float) -> RoundingTerm:
        """Squares, sum, division, root, constant and product: n + 8 roundings of a positive quantity.

        Squares below the smallest float vanish: the root of that is the absolute term.
        """
        count = math.prod(self.kernel)
        entries = math.prod(self.output_shape(input_shape))
        vanished = math.sqrt(underflow_upper_bound(unit, count, 1)) * math.sqrt(float(count * entries))
        return RoundingTerm(gamma_upper_bound(count + 8, unit), 2.0 * vanished)

    def float32_rounding(self, input_shape: Shape) -> Rounding:
        """Sums of squares stay in range where 2^64 times the norm of the input does."""
        term = self.rounding_term(input_shape, FLOAT32_UNIT)
        return lambda x, y, norm: RoundingAt.by_term(term, norm, 2.0**64)

    def plain_layer(self, input_shape: Shape) -> PlainLayer:
        root = math.sqrt(math.prod(self.kernel))
        return PlainLayer(f"l2_pool({{x}}, {short(self.kernel)}, {root!r})", helpers=(_PLAIN_L2_POOL,))
