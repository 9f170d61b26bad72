"""Convolutions (cross-correlations): what they compute, and proved norms, from what each axis does."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from .arithmetic import UP, Array, Bound, Shape, U, frobenius, gamma
from .norms import Gram, gram_matrix, guess, proved_norm

SMALL, LOOSE = 1024, 1.0009  # strips: for operators of so few rows or columns, or where a grid exceeds a guess so much
STRIPS_WORK = 2**39  # about the operations of a proof on strips; where they would be more, there is only the grid
EXPLICIT_ENTRIES, EXPLICIT_WORK = 2**24, 2**32  # with padding by the map itself: all groups' matrices, and side^3
PADDING: dict[str, Any] = {"zeros": "constant", "circular": "wrap", "reflect": "reflect", "replicate": "edge"}


def padded_axis(n: int, before: int, after: int, mode: str) -> Array:
    """Which of n pixels is where on a padded axis; n for a zero. Once around, and one mirror, at most."""
    if mode not in PADDING:
        raise ValueError(f"{mode} padding is not supported by this checker")
    if max(before, after) > {"circular": n, "reflect": n - 1}.get(mode, math.inf):
        raise ValueError(f"{mode} padding by {before} and {after} exceeds {n} pixels")
    zeros = {"constant_values": n} if mode == "zeros" else {}
    return np.pad(np.arange(n), (before, after), mode=PADDING[mode], **zeros)


def copies(source: Array, n: int) -> int:
    """How often the most repeated pixel is there."""
    return int(np.bincount(source[source < n]).max())


class Axis(NamedTuple):
    """One axis of a convolution on n pixels: output o sees pixel[t, o] through tap t; n: a zero of the padding.

    Without padding by the map itself that is stride o + first[t], and a circulant on ``grid`` blocks of ``stride``
    pixels contains it: so many that no wrap-around takes o to a pixel.
    """

    pixel: Array
    n: int
    first: Array
    stride: int
    grid: int

    @classmethod
    def of(cls, taps: int, n: int, stride: int, dilation: int, before: int, after: int, mode: str = "zeros") -> Axis:
        first, m = np.arange(taps) * dilation - before, (n + before + after - dilation * (taps - 1) - 1) // stride + 1
        if m < 1:
            raise ValueError(f"a kernel of {taps} taps does not fit {n} pixels")
        seen = padded_axis(n, before, after, mode)[first[:, None] + before + stride * np.arange(m)]
        shift, blocks = first // stride, -(-n // stride)
        grid = max(blocks - int(shift.min()), m + int(shift.max()), m, blocks)
        return cls(seen, n, first, stride, grid)

    def turns(self) -> Array:
        """Row i, at a tap and its phase: exp(2 pi i shift / grid). Equal shifts turn all alike: one row will do."""
        shift, phase = np.divmod(self.first, self.stride)
        rows = self.grid if len(set(shift % self.grid)) > 1 else 1
        angle = np.arange(self.grid) * (2 * math.pi / self.grid)  # within 3 u * 2 pi, cos and sin within 8 u
        turns = (np.cos(angle) + 1j * np.sin(angle))[np.outer(np.arange(rows), shift) % self.grid]
        return turns[:, :, None] * np.eye(self.stride)[phase]

    def is_apart(self) -> bool:
        """No pixel is seen by two outputs, and one output sees no padding: the others see less than it."""
        return bool(self.first[-1] - self.first[0] < self.stride and (self.pixel < self.n).all(axis=0).any())

    def on_circle(self) -> tuple[Axis, int]:
        """Circular padding: a circulant of n / g pixels of g phases, g = gcd(stride, n), and how often a row repeats.

        Output o sees pixel (stride o + first[t]) mod n. With stride = g s, first[t] = g q + r that is phase r of block
        (s o + q) mod (n / g): row s o of the circulant. Rows that occur c times or less cost a factor of sqrt(c).
        """
        step, m = math.gcd(self.stride, self.n), self.pixel.shape[1]
        rows = np.bincount(self.stride * np.arange(m) % self.n)
        return self._replace(stride=step, grid=self.n // step), int(rows.max())


class Convolution(NamedTuple):
    """weight (groups outputs, inputs, taps, taps) on maps of ``size``, padding (top, bottom, left, right)."""

    weight: Array
    size: Shape
    stride: Sequence[int]
    dilation: Sequence[int]
    padding: Sequence[int]
    groups: int = 1
    mode: str = "zeros"

    def axes(self) -> list[Axis]:
        ends, modes = self.padding, (self.mode, self.mode)
        return list(
            map(Axis.of, self.weight.shape[2:], self.size, self.stride, self.dilation, ends[::2], ends[1::2], modes)
        )

    def on_padded_map(self) -> Convolution:
        """The same taps on a map that has its padding already."""
        top, bottom, left, right = self.padding
        size = (self.size[0] + top + bottom, self.size[1] + left + right)
        return self._replace(size=size, padding=(0, 0, 0, 0), mode="zeros")

    def parts(self) -> list[Array]:
        """Of every group."""
        return np.split(self.weight, self.groups)

    def rows(self, weight: Array) -> Array:
        """(taps, taps, groups, outputs, inputs)"""
        return np.ascontiguousarray(weight.reshape(self.groups, -1, *weight.shape[1:]).transpose(3, 4, 0, 1, 2))

    def apply(self, v: Array, weight: Array) -> Array:
        """(n, channels, *size) with other weights, tap by tap: each output sums fan-in products."""
        (high, wide), rows = self.axes(), self.rows(weight)
        v = np.pad(v, ((0, 0), (0, 0), (0, 1), (0, 1)))
        v = v.reshape(len(v), self.groups, weight.shape[1], *v.shape[2:])
        y = np.zeros(1, v.dtype)
        for i, j in np.ndindex(weight.shape[2:]):
            y = y + rows[i, j] @ v[..., high.pixel[i][:, None], wide.pixel[j]].reshape(*v.shape[:3], -1)
        return y.reshape(len(v), -1, high.pixel.shape[1], wide.pixel.shape[1])

    def adjoint(self, v: Array, weight: Array) -> Array:
        """From the outputs' maps back to the inputs': what sees a pixel adds to it. Zero padding only."""
        (high, wide), rows = self.axes(), self.rows(weight).transpose(0, 1, 2, 4, 3)
        v = v.reshape(len(v), self.groups, len(weight) // self.groups, -1)
        y = np.zeros((len(v), self.groups, weight.shape[1], high.n + 1, wide.n + 1), v.dtype)
        for i, j in np.ndindex(weight.shape[2:]):  # a tap sees a pixel once at most; beyond the map it does not count
            seen = (..., high.pixel[i][:, None], wide.pixel[j])
            y[seen] += (rows[i, j] @ v).reshape(y[seen].shape)
        return y[..., :-1, :-1].reshape(len(v), -1, high.n, wide.n)

    def sides(self) -> tuple[int, int]:
        """Rows and columns of one group."""
        places = math.prod(axis.pixel.shape[1] for axis in self.axes())
        return len(self.weight) // self.groups * places, self.weight.shape[1] * math.prod(self.size)

    def norm(self, always_strips: bool = False) -> Bound:
        """With zero padding: windows without overlap: the kernel; small, or the grid loose: strips; else a grid."""
        if self.mode != "zeros" and any(self.padding):
            return self.folded_norm()
        (high, wide), parts = self.axes(), self.parts()
        if high.is_apart() and wide.is_apart():
            return proved_norm(gram_matrix(part.reshape(len(part), -1)) for part in parts), "windows without overlap"
        return strips_or_grid(parts, high, wide, always_strips or min(self.sides()) <= SMALL)

    def folded_norm(self) -> Bound:
        """Padding by the map itself: small: the matrix; circular: a grid times the root of how often a row repeats;
        where rows repeat, and else: on the padded map, times the root of how often a pixel is on it."""
        (high, wide), parts = self.axes(), self.parts()
        side, entries = min(self.sides()), self.groups * math.prod(self.sides())
        if side <= SMALL and entries <= EXPLICIT_ENTRIES and self.groups * side**3 <= EXPLICIT_WORK:
            return proved_norm(explicit_gram(part, high, wide) for part in parts), "matrix"
        found = list[Bound]()
        if self.mode == "circular":
            (high, times), (wide, more) = high.on_circle(), wide.on_circle()
            around = UP * math.sqrt(times * more) * max(grid_norm(part, high, wide) for part in parts)
            found.append((around, "circulant"))
            if times * more == 1:
                return found[0]
        ends, (flat_high, flat_wide) = self.padding, self.on_padded_map().axes()
        sources = map(padded_axis, self.size, ends[::2], ends[1::2], (self.mode, self.mode))
        root = math.sqrt(math.prod(map(copies, sources, self.size)))
        padded = UP * root * max(grid_norm(part, flat_high, flat_wide) for part in parts)
        return min([*found, (padded, f"{self.mode} padding times grid")])


def strips_or_grid(parts: Sequence[Array], high: Axis, wide: Axis, small: bool) -> Bound:
    """Of the groups of a zero-padded convolution, the largest: strips where they gain much, else a grid or a half."""
    grams = [gram for part in parts if (gram := strip_gram(part, high, wide))]
    square = max((guess(blocks) for blocks, _ in grams), default=math.inf) * (1 + 1e-8)
    bound = math.inf if grams and small else max(grid_norm(part, high, wide) for part in parts)
    if bound > LOOSE * math.sqrt(square):
        return min(bound, proved_norm(grams, square)), "strips"
    wide_too = max(half_grid_norm(part, high, wide) for part in parts)
    high_too = max(half_grid_norm(part.transpose(0, 1, 3, 2), wide, high) for part in parts)
    return min((bound, "circulant grid"), (min(wide_too, high_too), "grid along one axis"))


def half_grid_norm(weight: Array, axis: Axis, around: Axis) -> float:
    """Norm of what is a circulant along the second axis of taps alone: per frequency a convolution along ``axis``.

    Its taps are sums of weights times turns, each within 32 u; an operator of errors E[t] is at most sum ||E[t]||.
    Weights are real: the frequency -w has the conjugate taps.
    """
    alone, grams = Axis.of(1, 1, 1, 1, 0, 0), list[Gram]()
    for row in around.turns()[: around.grid // 2 + 1]:
        taps = np.tensordot(weight, row, (3, 0)).transpose(0, 1, 3, 2)
        gram = strip_gram(taps.reshape(len(weight), -1, taps.shape[3], 1), axis, alone)
        if gram is None:
            return math.inf
        grams.append(gram)
    sums = np.abs(weight).sum(axis=3).transpose(2, 0, 1)
    error = (32 * U + 2 * gamma(2 * weight.shape[3] + 4)) * sum(2 * frobenius(one) for one in sums)
    return UP * (proved_norm(grams) + error)


def grid_norm(weight: Array, high: Axis, wide: Axis) -> float:
    """Norm of the circulant: per frequency a block, the sum over taps of weight times turn, phases side by side.

    A turn is within 32 u, a product of two within 80 u, then sums.
    """
    turns = [(row, column) for row in high.turns() for column in wide.turns()]
    blocks = (np.tensordot(np.tensordot(weight, row, (2, 0)), column, (2, 0)) for row, column in turns)
    error = (80 * U + 2 * gamma(2 * weight[0, 0].size + 4)) * frobenius(2 * np.abs(weight).sum(axis=(2, 3)))
    return UP * (proved_norm(gram_matrix(block.reshape(len(weight), -1)) for block in blocks) + error)


def rows_of_taps(weight: Array, wide: Axis) -> Array:
    """What a row of taps does to a row of the input map: (taps, outputs along the row, inputs along the row)."""
    table = np.einsum("ochj,jqp->hoqcp", weight, np.eye(wide.n + 1)[wide.pixel][..., :-1])
    return table.reshape(len(table), len(weight) * wide.pixel.shape[1], weight.shape[1] * wide.n)


def strip_gram(weight: Array, high: Axis, wide: Axis) -> Gram | None:
    """A A^H, a strip being a row of the output map; None if STRIPS_WORK is too little.

    table[t] is what one row of taps does to a row of the input map, exactly. Outputs i and j share the pixels that i
    sees through s and j through t: block (i, j) sums table[s] table[t]^T. ||A||^2 is at most m ||table||^2.
    """
    (taps, m), band = high.pixel.shape, int(high.first[-1] - high.first[0]) // high.stride
    side, inner = len(weight) * wide.pixel.shape[1], weight.shape[1] * wide.n
    if max(m * (band + 1) ** 2, taps**2) * max(side, 64) ** 2 * max(side + inner, 1024) > STRIPS_WORK:
        return None
    table = rows_of_taps(weight, wide)
    products, seen = table[:, None] @ table.conj().transpose(0, 2, 1), high.pixel
    shared = {(i, j): (seen[:, None, i] == seen[:, j]) & (seen[:, j] < high.n) for i, j in np.ndindex(m, m) if i >= j}
    sums = {pairs.tobytes(): products[pairs].sum(axis=0) for pairs in shared.values()}
    blocks = {key: sums[pairs.tobytes()] for key, pairs in shared.items() if pairs.any() or key[0] == key[1]}
    return blocks, 2 * gamma(2 * taps * (inner + 4)) * m * frobenius(table) ** 2


def explicit_gram(weight: Array, high: Axis, wide: Axis) -> Gram:
    """A A^H (or A^H A) of the matrix itself, in which several taps may see one pixel.

    An entry sums at most all taps of a channel, and is off by gamma(taps) times their absolute values. Those of one
    output are at most the sums over its taps, channel by channel, in norm: hence ||abs A||^2 <= places ||sums||^2.
    """
    table, places = rows_of_taps(weight, wide), high.pixel.shape[1] * wide.pixel.shape[1]
    a = np.zeros((high.pixel.shape[1], high.n + 1, *table.shape[1:]))
    for tap, seen in enumerate(high.pixel):
        a[np.arange(len(seen)), seen] += table[tap]
    a = a[:, :-1].transpose(0, 2, 1, 3).reshape(len(a) * table.shape[1], -1)
    sums = frobenius(np.abs(weight).sum(axis=(2, 3))) * (1 + gamma(weight[0, 0].size + 4))
    blocks, _ = gram_matrix(a)
    return blocks, 2 * gamma(2 * (max(a.shape) + 2 * weight[0, 0].size + 4)) * places * sums**2
