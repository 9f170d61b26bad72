"""The norm of a two-dimensional block circulant: the largest norm of its symbol over all frequencies.

The symbol is D(w) = sum over taps of W[t] exp(2 pi i <w, shift t>), a matrix (O, I * phases) per frequency w. It is
computed by matrix products with twiddles from ``math.cos`` and ``math.sin`` at exactly reduced arguments, never by a
library FFT, so that its error is that of a plain dot product. Taps fold modulo the grid through the exact reduction.

Comment letters: G groups, O output and I input channels of a group, P phases, T taps, F frequencies.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from einops import rearrange
from torch import Tensor

from lip_plugin.bounds.geometry import Grid
from lip_plugin.bounds.rounding import add_up, frobenius_upper_bound, gamma, mul_up, up
from lip_plugin.bounds.verified import spectral_norm_upper_bound

_CHUNK_ENTRIES = 2**23  # complex entries of one chunk of symbols: 128 MB

TWIDDLE_ERROR = 2.0**-49
"""Bound of the error of one computed cosine or sine.

The angle is at most pi; pi itself, one product and one quotient put it off by at most pi * 2.4 u < 8.5e-16; the
library function is assumed within 4 units in the last place (4.5e-16). Together 1.3e-15 < 2**-49 = 1.7e-15."""


@dataclass(frozen=True)
class Phase:
    """The taps of one phase channel: weights (G O I, T) and the shifts (T,) along both axes."""

    weight: Tensor
    shift_h: Tensor
    shift_w: Tensor


def circulant_norm_upper_bound(weight: Tensor, grid_h: Grid, grid_w: Grid) -> float:
    """Upper bound of the norm of the block circulant, the maximum over groups.

    Args:
        weight: (G, O, I, kh, kw) in float64, largest entry at most 1.
        grid_h, grid_w: where the taps sit; ``repeats`` is not applied here.
    """
    phases = phases_of(weight, grid_h, grid_w)
    norm = 0.0
    for symbol in symbols(weight, phases, grid_h.size, grid_w.size):
        norm = spectral_norm_upper_bound(symbol, at_least=norm)
    return add_up(norm, symbol_error(phases))


def phases_of(weight: Tensor, grid_h: Grid, grid_w: Grid) -> list[Phase]:
    """The taps by phase channel; phases without taps are zero columns and left out."""
    found: list[Phase] = []
    for phase_h in sorted(set(grid_h.phases)):
        taps_h, shifts_h = grid_h.of_phase(phase_h)
        for phase_w in sorted(set(grid_w.phases)):
            taps_w, shifts_w = grid_w.of_phase(phase_w)
            part = weight[:, :, :, taps_h][..., taps_w].flatten(3).flatten(0, 2)
            places = torch.cartesian_prod(_integers(shifts_h), _integers(shifts_w))
            found.append(Phase(part, places[:, 0], places[:, 1]))
    return found


def symbols(weight: Tensor, phases: list[Phase], size_h: int, size_w: int) -> Iterator[Tensor]:
    """Chunks (F G, O, I P) of the symbol over half the frequencies: D(-w) is the conjugate of D(w)."""
    groups, outputs, inputs = weight.shape[:3]
    cosines, sines = _twiddle_tables(size_h * size_w)
    frequencies = torch.cartesian_prod(_integers(range(size_h)), _integers(range(size_w // 2 + 1)))
    taps = max(phase.weight.shape[1] for phase in phases)
    step = max(1, _CHUNK_ENTRIES // max(groups * outputs * inputs * len(phases), taps))
    for chunk in frequencies.split(step):
        blocks: list[Tensor] = []
        for phase in phases:
            turn_h = torch.outer(phase.shift_h, chunk[:, 0]) * size_w
            turn_w = torch.outer(phase.shift_w, chunk[:, 1]) * size_h
            turn = (turn_h + turn_w) % (size_h * size_w)  # (T, F), exact integers
            blocks.append(torch.complex(phase.weight @ cosines[turn], phase.weight @ sines[turn]))
        yield rearrange(blocks, "phase (g o i) f -> (f g) o (i phase)", g=groups, o=outputs)


def _integers(values: Iterable[int]) -> Tensor:
    return torch.tensor(list(values), dtype=torch.int64, device="cpu")  # whatever the default device is


def _twiddle_tables(length: int) -> tuple[Tensor, Tensor]:
    """Cosine and sine (length,) of 2 pi i / length, each within ``TWIDDLE_ERROR``."""
    angles = [2.0 * math.pi * (i if 2 * i <= length else i - length) / length for i in range(length)]
    cosines = torch.tensor([math.cos(angle) for angle in angles], dtype=torch.float64, device="cpu")
    return cosines, torch.tensor([math.sin(angle) for angle in angles], dtype=torch.float64, device="cpu")


def symbol_error(phases: list[Phase]) -> float:
    """Bound of ||D - computed D||_2, all frequencies and groups.

    A real or imaginary part is a dot product of T taps with twiddles of at most 1, each off by TWIDDLE_ERROR: its
    error is at most (gamma(T) + TWIDDLE_ERROR) sum |W[t]|, the complex entry's sqrt(2) times that; 2 covers the root
    and the rounding of this sum. The spectral norm of the error is at most its Frobenius norm.
    """
    taps = max(phase.weight.shape[1] for phase in phases)
    per_entry = mul_up(2.0, up(gamma(taps + 1) + TWIDDLE_ERROR))
    sums = torch.stack([phase.weight.abs().sum(dim=1) for phase in phases])
    return mul_up(per_entry, frobenius_upper_bound(sums))
