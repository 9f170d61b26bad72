"""Pieces of several activations put together: cat, stack and assignment to a slice.

Where the pieces differ only in what is done to them entry by entry, `(x[:, 0] - m0) / s0` beside `(x[:, 1] - m1) / s1`,
they are one activation with a number for every entry. Otherwise channels of branches stand side by side (`Concat`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from lip_plugin.errors import UnsupportedLayerError
from lip_plugin.network import (
    Activation,
    ChannelShuffle,
    Concat,
    Flatten,
    Gather,
    Offset,
    Operator,
    PixelShuffle,
    PixelUnshuffle,
    Reshape,
    Scale,
)
from lip_plugin.wrapping.branches import shape_after
from lip_plugin.wrapping.folding import padded_by_themselves
from lip_plugin.wrapping.traced import BATCH, Traced

NOTHING = -1.0
"""The position of an entry that nothing has been written to."""
_MOVES = (Flatten, Reshape, Gather, ChannelShuffle, PixelShuffle, PixelUnshuffle)
_Step: TypeAlias = "tuple[type[Operator], Tensor | Activation]"


@dataclass(frozen=True)
class _Source:
    """What a piece is cut from: where its entries are in the activation at the fork, and what is done to each."""

    places: Tensor
    steps: list[_Step]


def fork_of(pieces: Sequence[Traced]) -> int:
    """How many steps they have in common."""
    first = pieces[0].steps
    count = min(len(piece.steps) for piece in pieces)
    return next((i for i in range(count) if any(piece.steps[i] is not first[i] for piece in pieces)), count)


def put_together(pieces: Sequence[Traced], function: Callable[[list[Tensor]], Tensor]) -> Traced | None:
    """The activation that ``function`` of their positions is; None where the pieces are not alike but for numbers."""
    stride = BATCH * max(math.prod(piece.settled_shape) for piece in pieces)
    numbered = [
        torch.where(piece.positions() < 0, NOTHING, piece.positions() + index * stride)
        for index, piece in enumerate(pieces)
    ]
    out = function(numbered)
    if bool((out < 0).any()):  # not all written yet: of one activation, or nothing that can be noted
        return None
    origin, position = out.long() // stride, out.long() % stride
    used = origin.unique().tolist()
    pieces = [pieces[index] for index in used]
    origin = torch.searchsorted(torch.tensor(used), origin.contiguous())
    fork = fork_of(pieces)
    shape = shape_after(pieces[0], fork)
    sources = [_source(piece, fork) for piece in pieces]
    if any(source is None for source in sources):
        return None
    found = [source for source in sources if source is not None]
    aligned = _aligned(found)
    if aligned is None:
        return None
    sizes = torch.tensor([math.prod(piece.settled_shape) for piece in pieces])[origin]
    image, entry = position // sizes, position % sizes
    own = torch.arange(len(out)).view(-1, *[1] * (out.dim() - 1))
    if not torch.equal(image, own.expand_as(image)) or not (_alike(origin) and _alike(entry)):
        raise UnsupportedLayerError("mixes images, or moves the batch dimension; keep images apart along dimension 0")
    origin, entry = origin[0], entry[0]
    places = _of_each([source.places for source in found], origin, entry) + own * math.prod(shape)
    session = pieces[0].session
    joined = Traced(session, pieces[0].steps[:fork], shape).moved(places.double().contiguous())
    for kind, values in aligned:
        if isinstance(values, Activation):
            joined = joined.settle().then(values)
        else:
            numbers = _of_each(values, origin, entry).to(session.device)
            joined = joined.shifted(numbers) if kind is Offset else joined.scaled(numbers)
    return joined


def _alike(values: Tensor) -> bool:
    return torch.equal(values, values[:1].expand_as(values))


def _of_each(values: Sequence[Tensor], origin: Tensor, entry: Tensor) -> Tensor:
    """For every entry the number of its source."""
    out = torch.zeros(origin.shape, dtype=values[0].dtype)
    for index, own in enumerate(values):
        chosen = origin == index
        out[chosen] = own[entry[chosen]]
    return out


def _source(piece: Traced, fork: int) -> _Source | None:
    """None where something mixes entries on the way from the fork."""
    shape = shape_after(piece, fork)
    places = torch.arange(math.prod(shape), dtype=torch.float64, device="cpu").view(1, *shape)
    steps: list[_Step] = []
    for operator in piece.steps[fork:]:
        if isinstance(operator, _MOVES):
            places = operator.apply(places)
            steps = [
                (kind, values if isinstance(values, Activation) else operator.apply(values)) for kind, values in steps
            ]
        elif isinstance(operator, Offset | Scale):
            given = operator.offset if isinstance(operator, Offset) else operator.scale
            own = given.cpu().view(1, -1, *[1] * (places.dim() - 2)) if given.dim() else given.cpu()
            steps.append((type(operator), own.expand(places.shape)))
        elif isinstance(operator, Activation):
            steps.append((Activation, operator))
        else:
            return None
    flat: list[_Step] = [
        (kind, values if isinstance(values, Activation) else values.flatten()) for kind, values in steps
    ]
    return _Source(places.flatten().long(), flat)


def _aligned(sources: list[_Source]) -> list[tuple[type[Operator], list[Tensor] | Activation]] | None:
    """One chain for all: summands and factors 0 and 1 where a source has none, functions only where all have them."""
    waiting = [list(source.steps) for source in sources]
    done: list[tuple[type[Operator], list[Tensor] | Activation]] = []
    numbers = (values for source in sources for _, values in source.steps if isinstance(values, Tensor))
    like = next(numbers, torch.ones(1))
    while any(waiting):
        kind = next((chain[0][0] for chain in waiting if chain and chain[0][0] is not Activation), None)
        if kind is None:
            functions = [chain.pop(0)[1] if chain else None for chain in waiting]
            first = functions[0]
            if not isinstance(first, Activation) or any(_differ(first, other) for other in functions):
                return None
            done.append((Activation, first))
            continue
        neutral = 0.0 if kind is Offset else 1.0
        values = [
            chain.pop(0)[1] if chain and chain[0][0] is kind else torch.full(source.places.shape, neutral).to(like)
            for chain, source in zip(waiting, sources, strict=True)
        ]
        done.append((kind, [value for value in values if isinstance(value, Tensor)]))
    return done


def _differ(one: Activation, other: object) -> bool:
    return not isinstance(other, Activation) or one.settings() != other.settings()


def side_by_side(pieces: Sequence[Traced]) -> Traced:
    """Channels of branches one after the other. What was joined before is not computed twice."""
    joined = pieces[0].settle()
    for piece in pieces[1:]:
        joined = _two(joined, piece.settle())
    return joined


def _two(one: Traced, other: Traced) -> Traced:
    known = one.session.joined
    key = (one.steps, other.steps)
    if key not in known:
        fork = fork_of((one, other))
        start = Traced(one.session, one.steps[:fork], shape_after(one, fork))
        paths = (padded_by_themselves(activation.steps[fork:]) for activation in (one, other))
        known[key] = start.then(Concat(*paths))
    return known[key].copied(None)  # which may be changed in place
