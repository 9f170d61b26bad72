"""Long sums of products: how a float32 forward adds them up, in parts, and how far off that can be.

A sum of n + 1 numbers t_k by n additions, in any order, errs by at most u times the sum of |s| over all partial sums
s that occur (Higham, Accuracy and Stability of Numerical Algorithms, section 4.2). A partial sum lies between the sum
of all negative and that of all positive numbers, hence |s| <= (sum |t_k| + |sum t_k|) / 2: half of the usual bound,
since terms of both signs nearly cancel. Sums in g parts of at most n terms pass through n + g additions instead of
n g. With

    a = |W| |x| + |b|        s = |b| + sum over parts |W_part x_part|        (entry by entry)

products, additions within parts and additions of parts err by at most

    E <= u (a + n (a + s) / 2 + g s) / (1 - (n + g + 1) u)

and where there is one part, in which the bias is one of the numbers, by u (a + n (a + |y|) / 2) / (1 - (n + 1) u). The
divisor covers that partial sums carry the errors made below them: each is counted at most n + g times.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce

import torch
from torch import Tensor

from lip_plugin.bounds.rounding import add_up, div_up, down, gamma, mul_up
from lip_plugin.network.operators.base import FLOAT32_UNIT, RoundingAt
from lip_plugin.network.operators.rounding import gamma_upper_bound, underflow_upper_bound

_LOOSE = 2.0**-6
"""Above the relative error of sums of non-negative products whose factors are cut to bfloat16 or TF32 first."""


_MOST_PARTS = 16
"""More cost time and hardly shorten what n products in g parts pass through, n / g + g additions."""


def part_size(count: int, terms_each: int, longest: int) -> int:
    """How many of ``count`` groups of terms make a part: at most ``longest`` terms, but no more than 16 parts."""
    parts = min(-(-count // max(1, longest // terms_each)), _MOST_PARTS)
    return -(-count // parts)


_IN_PARTS = '''\
def in_parts(layer, x, size):
    """A layer that adds up its input channels in parts: shorter sums round less."""
    groups, conv = getattr(layer, "groups", 1), x.dim() == 4
    call, how = (F.conv2d, (None, layer.stride, layer.padding, layer.dilation, groups)) if conv else (F.linear, ())
    pieces = (piece.flatten(1, 2) for piece in x.unflatten(1, (groups, -1)).split(size, 2))
    total = sum(call(piece, weight, *how) for piece, weight in zip(pieces, layer.weight.split(size, 1)))
    return total if layer.bias is None else total + layer.bias.view(-1, *[1] * (x.dim() - 2))
'''


def plain_sums(parts: int, size: int) -> tuple[str, tuple[str, ...]]:
    """Code and helpers of a `PlainLayer`: its module alone, or the function that adds its sums up in parts."""
    return ("{self}({x})", ()) if parts == 1 else (f"in_parts({{self}}, {{x}}, {size})", (_IN_PARTS,))


def added(products: Iterable[Tensor]) -> Tensor:
    """One after the other."""
    return reduce(torch.add, products)


@dataclass(frozen=True)
class PartialSums:
    """y = W x + b in float32, ``parts`` sums of at most ``terms`` products; ``absolute_norm`` bounds || |W| ||_2."""

    terms: int
    parts: int
    absolute_norm: float

    def rounding(self, absolute: Tensor, partial: Tensor | None, y: Tensor, bias: Tensor | None) -> RoundingAt:
        """Near inputs x, from |W| |x| and the sum over parts |W_part x_part|, (B, ...) float32 each, and |b|.

        The first two as float32 computes them, with factors cut to bfloat16 at worst; infinite or NaN where that
        overflows. ``partial`` is None where there is one part: then ``y``, the output in float64, takes its place.
        """
        terms, outputs = self.terms, y.shape[1:].numel()
        parts = 0 if partial is None else self.parts  # additions of parts
        weight_a, weight_s = 1.0 + terms / 2, terms / 2 + parts
        cut = _LOOSE + gamma_upper_bound(terms + parts + 16, FLOAT32_UNIT)
        total = absolute * (weight_a * (1.0 + cut) + weight_s * cut)
        total += weight_s * (y.abs().float() if partial is None else partial)
        if bias is not None:
            total += bias * (weight_a + weight_s * ((partial is not None) + cut))
        norm = float32_norms(total)
        share = div_up(FLOAT32_UNIT, down(1.0 - mul_up(float(terms + parts + 1), FLOAT32_UNIT)))
        # Products that underflow, here and in what was computed above.
        lost = underflow_upper_bound(FLOAT32_UNIT, terms * self.parts, outputs)
        growth = mul_up(share, add_up(weight_a, weight_s), self.absolute_norm)
        peak = norm * (2.0 / weight_a) + lost
        return RoundingAt(norm * mul_up(share, 1.0 + 2.0**-40) + lost, growth, peak, 2.0 * self.absolute_norm)


def magnitude(values: Tensor) -> Tensor:
    """Normal float32 numbers that are not below |values|, hence nothing that is cut or flushed to zero on the way."""
    return values.abs().float() * (1.0 + 2.0**-22) + 2.0**-119


def float32_norms(values: Tensor) -> Tensor:
    """(B,) float64 upper bounds of the 2-norms of a batch of float32 numbers, whose squares float64 holds exactly."""
    flat = values.flatten(1)
    norms = torch.linalg.vector_norm(flat, dim=1, dtype=torch.float64) * (1.0 + gamma(flat.shape[1] + 8))
    return torch.nan_to_num(norms, nan=torch.inf, posinf=torch.inf)
