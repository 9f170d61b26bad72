"""The norm of a zero-padded convolution: of the circulant around it, or of one that is circulant along one axis only.

The circulant of ``symbol`` contains the layer and ignores both borders. An operator that is circulant along the width
alone is split by a Fourier transform of the width into one convolution along the height per frequency, with taps
D[t](w) = sum over u of W[t, u] exp(2 pi i w shift u), whose norm ``banded`` proves with its border. Only the few
frequencies whose symbol exceeds the result need that. It gains most of what the layer's own Gram matrix would, at a
fiftieth of its work or less. The same with the axes exchanged, whichever border takes more.

A complex tap stands as the real matrix [[Re, -Im], [Im, Re]] of the same norm: nothing complex is factored.

Comment letters: G groups, O output and I input channels of a group, P phases, t u taps; h and w frequencies.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from einops import rearrange
from torch import Tensor

from lip_plugin.bounds.banded import Guess, banded_norm_upper_bound
from lip_plugin.bounds.geometry import Axis, Grid, zero_padded_grid
from lip_plugin.bounds.rounding import add_up, mul_up, sqrt_up
from lip_plugin.bounds.symbol import circulant_norm_upper_bound, phases_of, symbol_error, symbols
from lip_plugin.bounds.verified import norms_estimate, spectral_norm_upper_bound, top_vector_estimate

_ENTRIES = 2**25  # complex, of all symbols together: 512 MB
_RESIDUAL = 1e-4  # of estimates: one that is too small costs a factorisation, and these are quick
_WORTH_IT = 1e-4
_ONE_COLUMN = Axis(1, 1, 1, 1, 0, 0)
_ONE_PLACE = Grid(1, (0,), (0,), (0,))


def zero_padded_norm_upper_bound(weight: Tensor, height: Axis, width: Axis) -> tuple[float, str]:
    """Upper bound of the norm of a zero-padded layer, weight (G, O, I, kh, kw) float64 with entries of at most 1.

    With the rule that proved it.
    """
    grid_h, grid_w = zero_padded_grid(height), zero_padded_grid(width)
    if grid_h is None or grid_w is None:  # no output meets a pixel
        return 0.0, "circulant embedding"
    if not _is_affordable(weight, grid_h, grid_w):
        return circulant_norm_upper_bound(weight, grid_h, grid_w), "circulant embedding"
    symbol = _Symbol.of(weight, grid_h, grid_w)
    if not bool(torch.isfinite(symbol.norms).all()):
        return circulant_norm_upper_bound(weight, grid_h, grid_w), "circulant embedding"
    if symbol.falls_along_width():
        split = _Split.over(grid_h, weight.mT, width, symbol, rows=True)
    else:
        split = _Split.over(grid_w, weight, height, symbol, rows=False)
    refined = split.norm_upper_bound()
    if refined is not None:
        return refined, "circulant along one axis"
    largest = float(symbol.norms.max()) * (1.0 + 5e-10)
    norm = spectral_norm_upper_bound(symbol.values.flatten(0, 2), at_least=largest)
    return add_up(norm, symbol.error), "circulant embedding"


def _is_affordable(weight: Tensor, grid_h: Grid, grid_w: Grid) -> bool:
    phases = len(set(grid_h.phases)) * len(set(grid_w.phases))
    return weight.shape[:3].numel() * phases * grid_h.size * (grid_w.size // 2 + 1) <= _ENTRIES


@dataclass(frozen=True)
class _Symbol:
    """``values`` (h, w, G, O, I P) for half of the w, within ``error`` of the symbol in the spectral norm.

    ``norms`` (h, w, G) are estimates. ``width`` counts all w.
    """

    values: Tensor
    norms: Tensor
    error: float
    width: int

    @staticmethod
    def of(weight: Tensor, grid_h: Grid, grid_w: Grid) -> _Symbol:
        phases = phases_of(weight, grid_h, grid_w)
        chunks = torch.cat(list(symbols(weight, phases, grid_h.size, grid_w.size)))
        values = rearrange(chunks, "(h w g) o i -> h w g o i", h=grid_h.size, g=weight.shape[0])
        norms = norms_estimate(chunks).view(values.shape[:3])
        return _Symbol(values, norms, symbol_error(phases), grid_w.size)

    def falls_along_width(self) -> bool:
        """Whether the norm falls faster along w from its peak: the border of the width then takes more from it."""
        norms = self.norms.amax(2)
        top_h, top_w = divmod(int(norms.argmax()), norms.shape[1])

        def near(step_h: int, step_w: int) -> float:
            h, w = top_h + step_h, (top_w + step_w) % self.width
            if w >= norms.shape[1]:  # D(-w) is the conjugate of D(w)
                h, w = -h, self.width - w
            return float(norms[h % norms.shape[0], w])

        return near(0, 1) + near(0, -1) < near(1, 0) + near(-1, 0)


@dataclass(frozen=True)
class _Split:
    """One convolution along ``axis`` for every frequency f of the other one and every group.

    ``taps`` (f, G, 2 O, 2 I P, t, 1) are real matrices; their operators lie within ``error`` of the exact ones.
    ``of`` (h, w) is the f of every value of the symbol; -f counts as f, whose operator it conjugates.
    """

    symbol: _Symbol
    axis: Axis
    taps: Tensor
    error: float
    of: Tensor
    rows: bool

    @staticmethod
    def over(grid: Grid, weight: Tensor, axis: Axis, symbol: _Symbol, *, rows: bool) -> _Split:
        """``weight`` (G, O, I, t, u) has the taps of ``axis`` before those of ``grid``, which are the ``rows`` or not.

        The operator of errors E[t] has norm at most sum ||E[t]|| <= sqrt(t) ||(E[1], E[2], ..)||_F.
        """
        apart = rearrange(weight, "g o i t u -> g o (i t) 1 u")
        phases = phases_of(apart, _ONE_PLACE, grid)
        taps = torch.cat(list(symbols(apart, phases, 1, grid.size)))
        taps = rearrange(taps, "(f g) o (i t p) -> f g o (i p) t 1", g=weight.shape[0], t=axis.taps, p=len(phases))
        upper, lower = torch.cat([taps.real, -taps.imag], dim=3), torch.cat([taps.imag, taps.real], dim=3)
        height, width = symbol.norms.shape[:2]
        index = torch.arange(height if rows else width, device="cpu")
        folded = torch.minimum(index, grid.size - index)
        of = folded[:, None].expand(height, width) if rows else folded.expand(height, width)
        error = mul_up(sqrt_up(float(axis.taps)), symbol_error(phases))
        return _Split(symbol, axis, torch.cat([upper, lower], dim=2), error, of, rows)

    def norm_upper_bound(self) -> float | None:
        """None where the border takes less than 0.01 % from the norm, or no factorisation completes."""
        norms = torch.stack([self.symbol.norms[self.of == f].amax(0) for f in range(len(self.taps))])
        ceiling = float(norms.max())
        top = norms == ceiling
        proved = self._of(top, ceiling)
        if proved is None:
            return None
        others = (norms > proved) & ~top
        if bool(others.any()):
            proved = self._of(others, ceiling, at_least=proved)
            if proved is None:
                return None
        rest = spectral_norm_upper_bound(self.symbol.values[~(top | others)[self.of]], at_least=proved)
        return add_up(rest, max(self.symbol.error, self.error))

    def _of(self, chosen: Tensor, ceiling: float, *, at_least: float = 0.0) -> float | None:
        """As `banded_norm_upper_bound`, of these f and groups; None also where an estimate was far too low."""
        guess = Guess(self._start(chosen), _RESIDUAL, _WORTH_IT)
        found = banded_norm_upper_bound(
            self.taps[chosen], self.axis, _ONE_COLUMN, ceiling=ceiling, at_least=at_least, guess=guess
        )
        return None if found is None or found > ceiling else found

    def _start(self, chosen: Tensor) -> Tensor | None:
        """Inputs (1, chosen 2 I P, n, 1) that these operators stretch nearly most: waves that fade at the border.

        Each is the symbol's singular vector at its peak times a sine. None where the axis has a stride.
        """
        if self.axis.stride != 1:
            return None
        return torch.cat([self._wave(f, group) for f, group in chosen.nonzero().tolist()])[None, :, :, None]

    def _wave(self, f: int, group: int) -> Tensor:
        """(2 I P, n)"""
        norms = torch.where(self.of == f, self.symbol.norms[:, :, group], 0.0)
        h, w = divmod(int(norms.argmax()), norms.shape[1])
        vector = top_vector_estimate(self.symbol.values[h, w, group])
        own, other, count = (h, w, self.symbol.width) if self.rows else (w, h, len(norms))
        if own != f:  # the peak is that of -f
            vector, other = vector.conj(), -other
        pixels = torch.arange(self.axis.size, dtype=torch.float64, device="cpu")
        angles = 2.0 * torch.pi * other / count * pixels
        fading = torch.sin(torch.pi * (pixels + 1) / (self.axis.size + 1))
        wave = vector[:, None] * torch.polar(fading, angles)
        return torch.cat([wave.real, wave.imag])
