"""Kinds that move, repeat or compare entries: exact. What does not divide, NumPy refuses to reshape."""

from __future__ import annotations

import math

import numpy as np

from ..arithmetic import Array, Bound
from ..convolutions import padded_axis
from ..layer import Layer, channels_of, spread
from ..reading import integers


class Move(Layer):
    """Lipschitz 1: a permutation, or a sort, of all pairings of two lists the one of least squared distance."""

    def norm(self) -> Bound:
        return 1.0, "closed form"

    def moved(self, v: Array) -> Array:
        raise NotImplementedError

    def apply(self, v: Array) -> tuple[Array, Array]:
        return self.moved(v), np.zeros(len(v))


class Copy(Move):
    """Entries of the input, some more than once, and zeros: the norm is the root of the most often repeated one."""

    def norm(self) -> Bound:
        numbers = np.arange(1.0, math.prod(self.shape) + 1).reshape(1, *self.shape)
        seen = np.bincount(self.moved(numbers).astype(np.int64).ravel())[1:]  # 0: padding
        return (1.0 if seen.max() == 1 else math.nextafter(math.sqrt(seen.max()), 9e9)), "copies of an entry"


class Permutation(Move):
    """Scales move with their entries."""

    def carry(self, values: Array) -> Array:
        return self.moved(values[None])[0]


class Flatten(Permutation, kind="flatten"):
    def moved(self, v: Array) -> Array:
        return v.reshape(len(v), -1)


class Reshape(Permutation, kind="reshape"):
    def moved(self, v: Array) -> Array:
        return v.reshape(len(v), *self.integers("shape", None))


class PixelShuffle(Permutation, kind="pixel_shuffle"):
    def moved(self, v: Array) -> Array:
        (f,), (n, c, h, w) = self.integers("factor", 1), v.shape
        return v.reshape(n, c // f**2, f, f, h, w).transpose(0, 1, 4, 2, 5, 3).reshape(n, -1, h * f, w * f)


class PixelUnshuffle(Permutation, kind="pixel_unshuffle"):
    def moved(self, v: Array) -> Array:
        (f,), (n, c, h, w) = self.integers("factor", 1), v.shape
        return v.reshape(n, c, h // f, f, w // f, f).transpose(0, 1, 3, 5, 2, 4).reshape(n, -1, h // f, w // f)


class ChannelShuffle(Permutation, kind="channel_shuffle"):
    """Channel i of group k goes to place k of run i."""

    def moved(self, v: Array) -> Array:
        (groups,), (n, c, *size) = self.integers("groups", 1), v.shape
        return v.reshape(n, groups, c // groups, *size).swapaxes(1, 2).reshape(v.shape)


class SpatialShift(Permutation, kind="spatial_shift"):
    """Four groups of channels one pixel up, down, left and right, around the border; the others stay."""

    def moved(self, v: Array) -> Array:
        (count,) = integers([self.settings["channels"]], "spatial_shift: channels", 1, 0, v.shape[1] // 4)
        *groups, still = np.split(v, [count, 2 * count, 3 * count, 4 * count], axis=1)
        steps = zip(groups, (-1, 1, -1, 1), (2, 2, 3, 3), strict=True)
        return np.concatenate([*(np.roll(group, step, axis) for group, step, axis in steps), still], axis=1)


class PartialAbs(Move, kind="partial_abs"):
    """The absolute value of the first channels: slopes of 1 and -1."""

    def moved(self, v: Array) -> Array:
        (count,) = integers([self.settings["channels"]], "partial_abs: channels", 1, 0, v.shape[1])
        return np.concatenate([np.abs(v[:, :count]), v[:, count:]], axis=1)


class GroupSort(Move, kind="group_sort"):
    def moved(self, v: Array) -> Array:
        n, _, *size = v.shape
        return np.sort(v.reshape(n, -1, *self.integers("size", 1), *size), axis=2).reshape(v.shape)


class MinMax(Move, kind="minmax"):
    """Channel i with channel i + c/2: first the maxima, then the minima."""

    def moved(self, v: Array) -> Array:
        first, second = np.split(v, 2, axis=1)
        return np.concatenate([np.maximum(first, second), np.minimum(first, second)], axis=1)


class Gather(Copy, kind="gather"):
    def moved(self, v: Array) -> Array:
        return v[:, integers(self.settings["channels"], "gather: channels", None, 0, v.shape[1] - 1)]

    def carry(self, values: Array) -> Array:
        return self.moved(values[None])[0]


class Pad(Copy, kind="pad"):
    def moved(self, v: Array) -> Array:
        top, bottom, left, right = self.integers("padding", 4, 0)
        high, wide = (
            padded_axis(n, before, after, self.settings["mode"])
            for n, before, after in zip(v.shape[2:], (top, left), (bottom, right), strict=True)
        )
        return np.pad(v, ((0, 0), (0, 0), (0, 1), (0, 1)))[:, :, high[:, None], wide]

    def carry(self, values: Array) -> Array | None:
        channels = channels_of(values)
        return None if channels is None else spread(channels, self.out)


class Repeat(Copy, kind="repeat"):
    def moved(self, v: Array) -> Array:
        high, wide = self.integers("factor")
        return v.repeat(high, axis=2).repeat(wide, axis=3)
