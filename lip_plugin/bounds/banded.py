"""The norm of a zero-padded convolution through its own block-banded Gram matrix.

The circulant that contains the layer ignores the border: on small maps its norm is up to half a per cent above the
layer's. Here the layer is cut into strips, the rows of its output (or of its input) map. With T[t] (O X, I W) the
matrix of one row of taps, strip o of A meets input row p in T[t] where tap t reads p, so that A A^H has blocks

    G[o, o'] = sum over the rows p that both read of T[t] T[t']^H,

which vanish unless the windows of o and o' overlap. c^2 I - G is factored strip by strip; the factor has the same
band. If that completes, Rump's theorem bounds the norm as in ``verified``.

Comment letters: G groups, O output and I input channels of a group, X W width, kh rows of taps.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from lip_plugin.bounds.estimates import conv_norm_lanczos_estimate
from lip_plugin.bounds.geometry import Axis
from lip_plugin.bounds.rounding import UNDERFLOW, U, add_up, frobenius_upper_bound, gamma, mul_up, sqrt_up
from lip_plugin.bounds.selection import selection

BANDED_WORK = 2**38  # strips * (bandwidth + 1) * (bandwidth + 2) * side^3 * groups; about 10 seconds
_STEP = 2**18  # products that take as long as what comes with every step
_ENTRIES = 2**26  # of the selection, and of the rows of taps as matrices: 512 MB
_ATTEMPTS = 4


@dataclass(frozen=True)
class Strips:
    """A as a block matrix: strip a holds matrix ``taps[t]`` (G, side, inner) at every (place, t) of ``places[a]``.

    The strips are rows of the input map, with ``of_inputs``, or of the output map; places are rows of the other one.
    """

    weight: Tensor
    width: Axis
    places: tuple[dict[int, int], ...]
    of_inputs: bool

    @property
    def side(self) -> int:
        _, outputs, inputs, _, _ = self.weight.shape
        return inputs * self.width.size if self.of_inputs else outputs * self.width.outputs

    @cached_property
    def taps(self) -> tuple[Tensor, ...]:
        """At most one column of taps joins a pixel to an output: entries are copies of weights."""
        reads = selection(self.width)
        rows = (torch.einsum("goiu,uxw->goxiw", row, reads) for row in self.weight.unbind(3))
        matrices = (row.flatten(3).flatten(1, 2) for row in rows)
        return tuple(matrix.mT if self.of_inputs else matrix for matrix in matrices)

    @cached_property
    def bandwidth(self) -> int:
        """The largest distance of two strips that meet."""
        last: dict[int, int] = {}
        first: dict[int, int] = {}
        for strip, places in enumerate(self.places):
            for place in places:
                first.setdefault(place, strip)
                last[place] = strip
        return max((last[place] - first[place] for place in first), default=0)

    @property
    def work(self) -> int:
        band = (self.bandwidth + 1) * (self.bandwidth + 2)
        return len(self.places) * band * max(_STEP, self.side**3 * self.weight.shape[0])

    @property
    def entries(self) -> int:
        """Of what `taps` holds, or makes on its way."""
        groups, outputs, inputs, taps, _ = self.weight.shape
        width = self.width.outputs * self.width.size
        return width * max(self.width.taps, groups * outputs * inputs * taps)

    def pairs(self, a: int, b: int) -> tuple[tuple[int, int], ...]:
        """The taps through which strips a and b read the same places."""
        return tuple(
            sorted((tap, self.places[b][place]) for place, tap in self.places[a].items() if place in self.places[b])
        )


@dataclass(frozen=True)
class Guess:
    """How the norm is estimated: from which input (1, G I, H, W), and to which residual of the singular vector.

    ``worth`` is what the bound must stand to gain, relative.
    """

    start: Tensor | None = None
    residual: float = 1e-6
    worth: float = 1e-3


def banded_norm_upper_bound(
    weight: Tensor, height: Axis, width: Axis, *, ceiling: float, at_least: float = 0.0, guess: Guess | None = None
) -> float | None:
    """Upper bound of the norm of a zero-padded layer, weight (G, O, I, kh, kw) float64 with entries of at most 1.

    Not below ``at_least``, which is tried first. None where it would gain less than ``guess.worth`` over ``ceiling``,
    an upper bound already proved, where it would cost too much, or where no factorisation completes.
    """
    strips = min(_strips_of_outputs(weight, height, width), _strips_of_inputs(weight, height, width), key=_work)
    if strips.work > BANDED_WORK or strips.entries > _ENTRIES:
        return None
    gram = _Gram(strips)
    if at_least > 0.0 and (proved := _proved(gram, at_least * at_least)) is not None:
        return proved
    guess = guess or Guess()
    enough = ceiling / (1.0 + guess.worth)
    estimate = _norm_estimate(weight, height, width, enough, guess)
    if estimate >= enough:
        return None
    shift = max(at_least, estimate) ** 2
    for attempt in range(_ATTEMPTS):
        shift *= 1.0 + 1e-7 * 32.0**attempt
        if (proved := _proved(gram, shift)) is not None:
            return proved
    return None


def _proved(gram: _Gram, shift: float) -> float | None:
    """sqrt(shift) and the slack, an upper bound of the norm, where the factorisation completes."""
    trace = _factored(gram, shift)
    # 0.1 % covers the slack's own rounding
    return None if trace is None else sqrt_up(add_up(shift, mul_up(_slack(gram, trace), 1.001)))


def _norm_estimate(weight: Tensor, height: Axis, width: Axis, enough: float, guess: Guess) -> float:
    return conv_norm_lanczos_estimate(
        weight.flatten(0, 1),
        input_size=(height.size, width.size),
        stride=(height.stride, width.stride),
        padding=(height.before, height.after, width.before, width.after),
        dilation=(height.dilation, width.dilation),
        groups=weight.shape[0],
        start=guess.start,
        residual=guess.residual,
        enough=enough,
    )


def _work(strips: Strips) -> int:
    return strips.work


def _strips_of_outputs(weight: Tensor, height: Axis, width: Axis) -> Strips:
    places = tuple(
        {height.pixel(o, t): t for t in range(height.taps) if 0 <= height.pixel(o, t) < height.size}
        for o in range(height.outputs)
    )
    return Strips(weight, width, places, of_inputs=False)


def _strips_of_inputs(weight: Tensor, height: Axis, width: Axis) -> Strips:
    places: tuple[dict[int, int], ...] = tuple({} for _ in range(height.size))
    for o in range(height.outputs):
        for t in range(height.taps):
            if 0 <= height.pixel(o, t) < height.size:
                places[height.pixel(o, t)][o] = t
    return Strips(weight, width, places, of_inputs=True)


class _Gram:
    """The blocks G[a, b], a >= b, of the Gram matrix; equal ones are computed once."""

    def __init__(self, strips: Strips) -> None:
        self.strips = strips
        self._products: dict[tuple[int, int], Tensor] = {}
        self._blocks: dict[tuple[tuple[int, int], ...], Tensor] = {}

    def block(self, a: int, b: int) -> Tensor:
        """(G, side, side)"""
        pairs = self.strips.pairs(a, b)
        if pairs not in self._blocks:
            zero = torch.zeros_like(self._product(0, 0))
            self._blocks[pairs] = sum((self._product(t, s) for t, s in pairs), zero)
        return self._blocks[pairs]

    def _product(self, t: int, s: int) -> Tensor:
        if (t, s) not in self._products:
            self._products[t, s] = self.strips.taps[t] @ self.strips.taps[s].mT
        return self._products[t, s]

    def error(self) -> float:
        """Upper bound of ||A A^H - G||: an entry sums kh * inner products, and || |A| |A|^H || <= ||A||_F^2."""
        taps, places = self.strips.taps, self.strips.places
        occurrences = Counter(tap for strip in places for tap in strip.values())
        frobenius = [frobenius_upper_bound(tap) for tap in taps]
        square = add_up(*(mul_up(float(count), frobenius[t], frobenius[t]) for t, count in occurrences.items()))
        entries = len(taps) * taps[0].shape[2]
        lost = mul_up(float(len(places) * self.strips.side + entries) ** 4, UNDERFLOW)
        return add_up(mul_up(gamma(entries + len(taps) + 2), square), lost)


def _factored(gram: _Gram, shift: float) -> float | None:
    """An upper bound of the trace of shift I - G (of its largest group), where its Cholesky factorisation completes.

    The factor L has the band of G: row a of its blocks is L[a, b], a - bandwidth <= b <= a.
    """
    strips = gram.strips
    rows: list[dict[int, Tensor]] = []
    trace = torch.zeros(strips.weight.shape[0], dtype=torch.float64, device="cpu")
    for a in range(len(strips.places)):
        row: dict[int, Tensor] = {}
        for b in range(max(0, a - strips.bandwidth), a):
            rest = -gram.block(a, b)
            for k in sorted(row.keys() & rows[b].keys()):
                rest = torch.baddbmm(rest, row[k], rows[b][k].mT, alpha=-1.0)
            row[b] = torch.linalg.solve_triangular(rows[b][b].mT, rest, upper=True, left=False)
        pivot = -gram.block(a, a)
        diagonal = shift - gram.block(a, a).diagonal(dim1=1, dim2=2)
        pivot.diagonal(dim1=1, dim2=2).copy_(diagonal)
        for k in sorted(row):
            pivot = torch.baddbmm(pivot, row[k], row[k].mT, alpha=-1.0)
        factor, info = torch.linalg.cholesky_ex(pivot)
        pivots = factor.diagonal(dim1=1, dim2=2)
        if bool(info.any()) or not bool((torch.isfinite(pivots) & (pivots > 0)).all()):
            return None
        row[a] = factor
        rows.append(row)
        if a >= strips.bandwidth:
            rows[a - strips.bandwidth].clear()  # not met again
        trace += diagonal.sum(dim=1)
    return float(trace.max())


def _slack(gram: _Gram, trace: float) -> float:
    """How far lambda_max(A A^H) may lie above the shift: Rump's term, the diagonal's rounding, the Gram matrix's error.

    A row of the factor has at most (bandwidth + 1) * side entries, each sum is split into as many parts as blocks,
    and a triangular solve may multiply by rounded reciprocals.
    """
    per_step = gamma((gram.strips.bandwidth + 1) * gram.strips.side + gram.strips.bandwidth + 16)
    return (per_step / (1.0 - per_step) + U) * trace + gram.error()
