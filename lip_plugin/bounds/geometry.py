"""Where the taps of a convolution read, one axis at a time, and the circulant grids that contain it.

Along one axis output ``o`` reads pixel ``stride * o + dilation * t - before`` through tap ``t``. Under zero padding
a pixel outside [0, size) is 0; under circular padding pixels are counted modulo the size; "reflect" and "replicate"
mirror the map, or repeat its border.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass


@dataclass(frozen=True)
class Axis:
    """One axis of a convolution: map size, kernel taps and how they move. ``before``/``after`` are the padding."""

    size: int
    taps: int
    stride: int
    dilation: int
    before: int
    after: int

    @property
    def extent(self) -> int:
        """Pixels from the first tap to the last, both included."""
        return self.dilation * (self.taps - 1) + 1

    @property
    def outputs(self) -> int:
        """Number of outputs; below 1 where the kernel does not fit."""
        return (self.size + self.before + self.after - self.extent) // self.stride + 1

    def pixel(self, output: int, tap: int) -> int:
        """The pixel read by an output through a tap, before any wrap-around."""
        return self.stride * output + self.dilation * tap - self.before

    def source(self, pixel: int, mode: str) -> int | None:
        """Where the padding takes a pixel beyond the map from; None for a zero."""
        if 0 <= pixel < self.size:
            return pixel
        if mode == "reflect":  # without repeating the border
            return -pixel if pixel < 0 else 2 * (self.size - 1) - pixel
        return {"circular": pixel % self.size, "replicate": min(max(pixel, 0), self.size - 1)}.get(mode)

    def has_whole_window(self) -> bool:
        """Whether some output reads through all its taps without touching the padding."""
        windows = range(self.outputs)
        return any(self.pixel(o, 0) >= 0 and self.pixel(o, self.taps - 1) < self.size for o in windows)

    def padded(self) -> Axis:
        """The same outputs on a map that already holds its padding."""
        return Axis(self.size + self.before + self.after, self.taps, self.stride, self.dilation, 0, 0)

    def largest_copy_count(self, mode: str) -> int:
        """How many times padding with the map itself repeats the most repeated pixel."""
        padded = range(-self.before, self.size + self.after)
        return max(Counter(self.source(pixel, mode) for pixel in padded).values())


@dataclass(frozen=True)
class Grid:
    """A circulant of ``size`` whose tap ``taps[i]`` sits at ``shifts[i]`` of phase channel ``phases[i]``."""

    size: int
    taps: tuple[int, ...]
    shifts: tuple[int, ...]
    phases: tuple[int, ...]
    repeats: int = 1

    def of_phase(self, phase: int) -> tuple[list[int], list[int]]:
        """Tap indices and shifts that belong to a phase."""
        chosen = [i for i, own in enumerate(self.phases) if own == phase]
        return [self.taps[i] for i in chosen], [self.shifts[i] for i in chosen]


def zero_padded_grid(axis: Axis) -> Grid | None:
    """The smallest circulant grid that contains a zero-padded axis as a sub-matrix; None for a zero operator.

    Outputs and taps that never meet a pixel are dropped first, which leaves outputs 0..m-1 (renumbered, ``before``
    lowered to match). With stride s let a = ceil(before / s) and z = a s - before; tap t sits at z + dilation t
    = s q + r, and phase r of the map holds the pixels x_r[j] = x[s j + r], j in [0, n_q), n_q = ceil(n / s). Then
        y[o] = sum over taps of w[t] x_r[o - a + q],
    so pixel j reaches output o through the taps with q = j - o + a. On a circle of N the taps with
    q = j - o + a + l N, l != 0, reach it too. For l >= 1 that is at least a - (m - 1) + N, for l <= -1 at most
    n_q - 1 + a - N; with all q in [q_low, q_high] neither occurs if N >= q_high + m - a and N >= n_q + a - q_low.
    N >= n_q and N >= m keep pixels and outputs apart. The layer is then a sub-matrix of the circulant.
    """
    meetings = [(o, t) for o in range(axis.outputs) for t in range(axis.taps) if 0 <= axis.pixel(o, t) < axis.size]
    if not meetings:
        return None
    first, last = min(o for o, _ in meetings), max(o for o, _ in meetings)
    taps = sorted({t for _, t in meetings})
    outputs, before = last - first + 1, axis.before - axis.stride * first
    lead = -(-before // axis.stride)  # a, rounded towards +infinity also where negative
    places = [lead * axis.stride - before + axis.dilation * t for t in taps]
    shifts, phases = [p // axis.stride for p in places], [p % axis.stride for p in places]
    pixels = -(-axis.size // axis.stride)
    size = max(pixels, outputs, max(shifts) + outputs - lead, pixels + lead - min(shifts))
    return Grid(size, tuple(taps), tuple(shifts), tuple(phases))


def circular_grid(axis: Axis) -> Grid:
    """The circulant behind a circularly padded axis, and how often its rows are repeated at most.

    With g = gcd(stride, n), stride = g s' and dilation t - before = g q + r, output o reads phase r at
    (s' o + q) mod (n / g): it is row s' o mod (n / g) of a circulant of size n / g on g phases. Rows that occur up to
    ``repeats`` times multiply the norm by at most sqrt(repeats).
    """
    step = math.gcd(axis.stride, axis.size)
    places = [axis.dilation * t - axis.before for t in range(axis.taps)]
    repeats = max(Counter(axis.stride * o % axis.size for o in range(axis.outputs)).values())
    shifts, phases = tuple(p // step for p in places), tuple(p % step for p in places)
    return Grid(axis.size // step, tuple(range(axis.taps)), shifts, phases, repeats)
