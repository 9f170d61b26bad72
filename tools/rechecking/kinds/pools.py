"""Pools: averages, maxima, and norms of windows. Windows that are not whole at the end are dropped."""

from __future__ import annotations

import math

import numpy as np

from ..arithmetic import UP, Array, Bound, gamma, lengths
from ..convolutions import Axis, Convolution
from ..layer import Layer, channels_of, spread
from .dense import dot_error


def check_half_padding(layer: Layer, dilation: list[int]) -> None:
    """At most half of the kernel as dilation spreads it, as torch has it."""
    ends = zip(layer.integers("kernel"), layer.integers("padding", 2, 0), dilation, strict=True)
    if any(2 * pad > step * (taps - 1) + 1 for taps, pad, step in ends):
        raise ValueError(f"card.json: {layer.kind} with more padding than half its kernel")


class AvgPool(Layer, kind="avg_pool"):
    """A convolution of each channel with 1 / size, rounded up; padding counts as zeros."""

    def check(self) -> None:
        check_half_padding(self, [1, 1])

    def convolution(self) -> Convolution:
        kernel, (high, wide) = self.integers("kernel"), self.integers("padding", 2, 0)
        weight = np.full((1, 1, *kernel), math.nextafter(1 / math.prod(kernel), 2))
        return Convolution(weight, self.shape[1:], self.integers("stride"), [1, 1], [high, high, wide, wide])

    def norm(self) -> Bound:
        return self.convolution().norm(always_strips=True)

    def apply(self, v: Array) -> tuple[Array, Array]:
        pool = self.convolution()
        alone = v.reshape(-1, 1, *v.shape[2:])
        y, size = pool.apply(alone, pool.weight), pool.apply(np.abs(alone), pool.weight)
        error = dot_error(pool.weight.size, size).reshape(len(v), -1)
        return y.reshape(*v.shape[:2], *y.shape[2:]), lengths(error)

    def carry(self, values: Array) -> Array | None:
        channels = channels_of(values)
        return None if channels is None else spread(channels, self.out)


class MaxPool(Layer, kind="max_pool"):
    """Maxima of windows differ by at most the largest difference in them: the root of how many windows share a pixel.

    Along an axis output o sees pixel stride o + dilation t - padding through tap t. Where two outputs see one pixel
    through t and t', dilation (t - t') is a multiple of the stride, hence t - t' one of d = stride / gcd(stride,
    dilation): of k taps every d-th at most see it, on maps of any size.
    """

    def axes(self) -> list[Axis]:
        kernel, stride = self.integers("kernel"), self.integers("stride")
        dilation, padding = self.integers("dilation"), self.integers("padding", 2, 0)
        return list(map(Axis.of, kernel, self.shape[1:], stride, dilation, padding, padding))

    def check(self) -> None:
        check_half_padding(self, self.integers("dilation"))
        if any((axis.pixel == axis.n).all(axis=0).any() for axis in self.axes()):
            raise ValueError(f"max_pool has windows of padding alone on {self.shape}")

    def norm(self) -> Bound:
        shares = zip(self.integers("kernel"), self.integers("stride"), self.integers("dilation"), strict=True)
        windows = math.prod(
            math.ceil(taps / (stride // math.gcd(stride, dilation))) for taps, stride, dilation in shares
        )
        return (1.0 if windows == 1 else UP * math.sqrt(windows)), "windows that share a pixel"

    def apply(self, v: Array) -> tuple[Array, Array]:
        high, wide = self.axes()
        v = np.pad(v, ((0, 0), (0, 0), (0, 1), (0, 1)), constant_values=-math.inf)
        y = np.array(-math.inf)
        for rows in high.pixel:
            for columns in wide.pixel:
                y = np.maximum(y, v[:, :, rows[:, None], columns])
        return y, np.zeros(len(v))


class L2Pool(Layer, kind="l2_pool"):
    """Norms of windows without overlap: | ||a|| - ||b|| | <= ||a - b|| in each."""

    def norm(self) -> Bound:
        return 1.0, "closed form"

    def apply(self, v: Array) -> tuple[Array, Array]:
        """A sum of squares, all of them positive, is off by gamma(size) of itself, its root by no more than that."""
        (high, wide), (n, c, h, w) = self.integers("kernel"), v.shape
        if high > h or wide > w:
            raise ValueError(f"l2_pool of {high}x{wide} on {self.shape}")
        whole = v[:, :, : h // high * high, : w // wide * wide]
        windows = whole.reshape(n, c, h // high, high, w // wide, wide)
        y = np.sqrt((windows**2).sum(axis=(3, 5)))
        return y, gamma(high * wide + 4) * lengths(y)
