"""Two-dimensional convolution: any padding mode of torch, stride, dilation and groups."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from lip_plugin.bounds import NormBound, conv_norm_upper_bound
from lip_plugin.bounds.conv import conv_norm_work
from lip_plugin.bounds.rounding import gamma, mul_up, sqrt_up
from lip_plugin.errors import UnsupportedLayerError
from lip_plugin.network.operators.base import (
    Rounding,
    RoundingAt,
    RoundingTerm,
    Windows,
    map_windows,
    require_ints,
    require_map,
    require_tensor,
    window_entries,
)
from lip_plugin.network.operators.linear import LinearOperator
from lip_plugin.network.operators.padding import PADDING_MODES, check_padding, largest_copy_count
from lip_plugin.network.operators.plain_layer import PlainLayer, changed, short, weight_keywords
from lip_plugin.network.operators.rounding import affine_rounding, bias_norm_upper_bound
from lip_plugin.network.operators.sums import PartialSums, added, magnitude, part_size, plain_sums
from lip_plugin.types import Shape

_LONGEST_SUM = 288
"""Products that float32 adds up at a time: 32 channels of a 3x3 kernel. Less costs time, more costs radius."""


@dataclass(frozen=True, eq=False)
class Conv(LinearOperator):
    """y = W * pad(x) + b. weight (O, C/groups, kh, kw), bias (O,); padding is (top, bottom, left, right).

    In float32 the input channels are gone through in parts, whose results are added: see `operators.sums`.
    """

    kind: ClassVar[str] = "conv"

    weight: Tensor
    bias: Tensor | None = None
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1
    padding_mode: str = "zeros"

    def __post_init__(self) -> None:
        require_tensor(self.weight, "weight", 4)
        require_ints(self.stride, "stride", 2, 1)
        require_ints(self.padding, "padding", 4, 0)
        require_ints(self.dilation, "dilation", 2, 1)
        require_ints((self.groups,), "groups", 1, 1)
        if self.padding_mode not in PADDING_MODES:
            raise UnsupportedLayerError(f"padding_mode {self.padding_mode!r}; known: {', '.join(PADDING_MODES)}")
        if self.weight.shape[0] % self.groups or 0 in self.weight.shape:
            raise UnsupportedLayerError(f"weight {tuple(self.weight.shape)} does not split into {self.groups} groups")
        if self.bias is not None:
            require_tensor(self.bias, "bias", 1)
            if self.bias.shape[0] != self.weight.shape[0]:
                raise UnsupportedLayerError(f"bias {tuple(self.bias.shape)} for {self.weight.shape[0]} outputs")

    def apply(self, x: Tensor) -> Tensor:
        x, inside = self._padded(x)
        if self.parts == 1:
            return self._convolved(x, self.weight, self.bias, inside)
        total = added(self._convolved(*piece, None, inside) for piece in self._pieces(x))
        return total if self.bias is None else total + self.bias.view(-1, 1, 1)

    def linear_part(self, x: Tensor) -> Tensor:
        x, inside = self._padded(x)
        return self._convolved(x, self.weight, None, inside)

    def linear_parts(self, tensors: Mapping[str, Tensor], x: Tensor) -> Tensor:
        """All of them in one grouped convolution."""
        padded, inside = self._padded(x)
        weight, groups = tensors["weight"].flatten(0, 1), len(x) * self.groups
        out = F.conv2d(padded.flatten(0, 1)[None], weight, None, self.stride, inside, self.dilation, groups)
        return out[0].unflatten(0, (len(x), -1))

    def _padded(self, x: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """The input with the padding that `F.conv2d` cannot do itself, and what is left to it."""
        top, bottom, left, right = self.padding
        if self.padding_mode == "zeros" and (top, left) == (bottom, right):
            return x, (top, left)
        return F.pad(x, (left, right, top, bottom), mode=PADDING_MODES[self.padding_mode]), (0, 0)

    def _convolved(self, x: Tensor, weight: Tensor, bias: Tensor | None, inside: tuple[int, int]) -> Tensor:
        return F.conv2d(x, weight, bias, self.stride, inside, self.dilation, self.groups)

    @property
    def part_size(self) -> int:
        """How many input channels of a group float32 adds up at a time; all of them in float64."""
        channels, *kernel = self.weight.shape[1:]
        return part_size(channels, math.prod(kernel), _LONGEST_SUM) if self.weight.dtype == torch.float32 else channels

    @property
    def parts(self) -> int:
        return -(-self.weight.shape[1] // self.part_size)

    def _pieces(self, x: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Input (B, groups * c, H, W) and weight (O, c, kh, kw) of every part, c channels each."""
        inputs = x.unflatten(1, (self.groups, -1)).split(self.part_size, 2)
        yield from zip((part.flatten(1, 2) for part in inputs), self.weight.split(self.part_size, 1), strict=True)

    def output_shape(self, input_shape: Shape) -> Shape:
        channels, height, width = require_map(input_shape, self.kind)
        outputs, per_group, *kernel = self.weight.shape
        if channels != per_group * self.groups:
            raise UnsupportedLayerError(f"conv expects {per_group * self.groups} channels, got shape {input_shape}")
        check_padding(self.padding, self.padding_mode, (channels, height, width))
        sizes = tuple(
            (size + before + after - dilation * (extent - 1) - 1) // stride + 1
            for size, before, after, dilation, extent, stride in zip(
                (height, width), self.padding[::2], self.padding[1::2], self.dilation, kernel, self.stride, strict=True
            )
        )
        if min(sizes) < 1:
            raise UnsupportedLayerError(f"conv with kernel {tuple(kernel)} leaves nothing of shape {input_shape}")
        return (outputs, *sizes)

    def lipschitz_upper_bound(self, input_shape: Shape) -> NormBound:
        return conv_norm_upper_bound(self.weight, **self._geometry(input_shape))

    def proof_work(self, input_shape: Shape) -> int:
        return conv_norm_work(self.weight, **self._geometry(input_shape))

    def _geometry(self, input_shape: Shape) -> Any:
        _, height, width = require_map(input_shape, self.kind)
        return {
            "input_size": (height, width),
            "stride": self.stride,
            "padding": self.padding,
            "dilation": self.dilation,
            "groups": self.groups,
            "padding_mode": self.padding_mode,
        }

    def rounding_term(self, input_shape: Shape, unit: float) -> RoundingTerm:
        """Direct or GEMM convolution in any order of summation: |error| <= gamma_{n+1} (|W| |x| + |b|)."""
        out = self.output_shape(input_shape)
        fan_in = self.weight[0].numel()
        bias = bias_norm_upper_bound(self.bias, repeats=out[1] * out[2])
        return affine_rounding(self._absolute_norm(input_shape, out), bias, unit, outputs=math.prod(out), fan_in=fan_in)

    def float32_rounding(self, input_shape: Shape) -> Rounding:
        """By |W| * |x| + |b| as it is at x (see `operators.sums`)."""
        absolute_norm = self._absolute_norm(input_shape, self.output_shape(input_shape))
        sums = PartialSums(self.part_size * math.prod(self.weight.shape[2:]), self.parts, absolute_norm)
        absolute_weight = magnitude(self.weight)
        bias = None if self.bias is None else magnitude(self.bias).view(-1, 1, 1)

        def rounding(x: Tensor, y: Tensor, norm: Tensor) -> RoundingAt:
            padded, inside = self._padded(magnitude(x))
            absolute = self._convolved(padded, absolute_weight, None, inside)
            return sums.rounding(absolute, self._partial(x), y, bias)

        return rounding

    def _partial(self, x: Tensor) -> Tensor | None:
        """Absolute values of the parts' results, added; None where there is one part."""
        if self.parts == 1:
            return None
        x, inside = self._padded(x.float())
        return added(self._convolved(*piece, None, inside).abs() for piece in self._pieces(x))

    def windows(self, input_shape: Shape) -> tuple[Windows, ...]:
        both = (sum(self.padding[:2]), sum(self.padding[2:]))
        taps = self.weight.shape[2:]
        return map_windows(input_shape, taps=taps, stride=self.stride, padding=both, dilation=self.dilation)

    def work(self, input_shape: Shape) -> int:
        return sum(self.weight.numel() * high.outputs * wide.outputs for high, wide in self.windows(input_shape))

    def held(self, input_shape: Shape) -> int:
        """Torch copies every window."""
        return super().held(input_shape) + window_entries(input_shape[0], self.windows(input_shape))

    def plain_layer(self, input_shape: Shape) -> PlainLayer:
        outputs, per_group, *kernel = self.weight.shape
        top, bottom, left, right = self.padding
        inside = self.padding_mode == "zeros" and (top, left) == (bottom, right)
        keywords = {
            "stride": (short(self.stride), "1"),
            "padding": (short((top, left)) if inside else "0", "0"),
            "dilation": (short(self.dilation), "1"),
            "groups": (str(self.groups), "1"),
            **weight_keywords(self.weight, self.bias),
        }
        mode = "" if self.padding_mode == "zeros" else f', mode="{self.padding_mode}"'
        before = "" if inside else f"F.pad({{x}}, ({left}, {right}, {top}, {bottom}){mode})"
        arguments = [str(per_group * self.groups), str(outputs), short(tuple(kernel)), *changed(keywords)]
        code, helpers = plain_sums(self.parts, self.part_size)
        return PlainLayer(code, self.kind, f"nn.Conv2d({', '.join(arguments)})", before=before, helpers=helpers)

    def describe(self) -> str:
        outputs, per_group, height, width = self.weight.shape
        around = {
            "stride": (short(self.stride), "1"),
            "dilation": (short(self.dilation), "1"),
            "groups": (str(self.groups), "1"),
            "padding": (self.padding_mode, "zeros"),
        }
        words = "".join(f", {name} {value}" for name, (value, default) in around.items() if value != default)
        return f"{height}x{width} convolution, {per_group * self.groups} to {outputs} channels{words}"

    def _absolute_norm(self, input_shape: Shape, out: Shape) -> float:
        """|| |W| ||_2 <= sqrt(max row sum * max column sum) of the operator with entries |w|."""
        weight = self.weight.detach().abs().double().cpu()
        grown = 1.0 + gamma(weight.numel() + 1)
        row = float(weight.sum((1, 2, 3)).max())
        column = float(weight.unflatten(0, (self.groups, -1)).sum((1, 3, 4)).max())
        reuse = 1
        if self.padding_mode == "circular":  # one pixel may be read by several outputs through the same tap
            for size, outputs, stride in zip(input_shape[1:], out[1:], self.stride, strict=True):
                period = size // math.gcd(size, stride)
                reuse *= -(-outputs // period)
        elif self.padding_mode != "zeros":  # at most as often as the padding repeats it
            reuse = largest_copy_count(input_shape[1], *self.padding[:2], self.padding_mode)
            reuse *= largest_copy_count(input_shape[2], *self.padding[2:], self.padding_mode)
        return sqrt_up(mul_up(row, column, float(reuse), grown, grown))
