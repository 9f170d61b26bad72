"""Maxima, minima and sorting over groups of channels: MaxMin, GroupSort and FullSort, however they are written."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lip_plugin.errors import UnsupportedLayerError
from lip_plugin.network import Gather, GroupSort, MinMax, Operator
from lip_plugin.wrapping.registry import rule
from lip_plugin.wrapping.rules.activations import _clamp, _clamp_min  # pyright: ignore[reportPrivateUsage]
from lip_plugin.wrapping.rules.pools import _amax, whole_map  # pyright: ignore[reportPrivateUsage]
from lip_plugin.wrapping.traced import Traced


class _Sorted(NamedTuple):
    """As `torch.sort` gives it; the places are refused where they are used."""

    values: Traced
    indices: object = "indices of sorted entries jump; only the sorted values are bounded"


def sorted_along(input: Traced, dim: int) -> Traced:
    """Sorted along one axis, the smallest first. The groups are the same channels at every position."""
    positions = input.positions().movedim(dim, -1)
    count = math.prod(input.settled_shape)
    places = positions[0].long()
    size = math.prod(input.settled_shape[1:])
    channels, spots = places // size, places % size
    groups = (
        [tuple(row) for row in channels.flatten(0, -2).tolist()] if places.dim() > 1 else [tuple(channels.tolist())]
    )
    if not bool((spots == spots[..., :1]).all()):
        raise UnsupportedLayerError("sorts pixels of one channel; only channels are sorted against each other")
    known = {group: number for number, group in enumerate(dict.fromkeys(groups))}
    width = places.shape[-1]
    if len({channel for group in known for channel in group}) != width * len(known):
        raise UnsupportedLayerError("sorts a channel in more than one group; groups must be disjoint")
    sorted_input = _sorted_groups(input, tuple(known))
    # Where each sorted entry is now: rank r of group g at this spot.
    numbers = torch.tensor([known[group] for group in groups], dtype=torch.long).view(places.shape[:-1])
    ranks = torch.arange(width).expand(places.shape)
    of_group = numbers.unsqueeze(-1)
    channel = (
        of_group + (1 - ranks) * len(known) if width == 2 else of_group * width + ranks
    )  # MinMax: larger ones first
    one = (channel * size + spots).double().movedim(-1, dim - 1 if dim > 0 else dim)
    out_count = width * len(known) * size
    starts = out_count * torch.arange(len(positions), dtype=torch.float64).view(-1, *[1] * one.dim())
    if not torch.equal(positions[-1].long(), places + (len(positions) - 1) * count):
        raise UnsupportedLayerError("sorts entries of different images; keep images apart along dimension 0")
    return sorted_input.copied((one + starts).contiguous())


def _sorted_groups(input: Traced, groups: tuple[tuple[int, ...], ...]) -> Traced:
    """Groups of two as MinMax (all maxima, then all minima), others side by side; the same one for the same groups."""
    key = (input.steps, groups)
    if key not in input.session.sorted:
        width = len(groups[0])
        order = (
            [group[0] for group in groups] + [group[1] for group in groups]
            if width == 2
            else [channel for group in groups for channel in group]
        )
        operators: list[Operator] = [MinMax() if width == 2 else GroupSort(width)]
        if order != list(range(input.settled_shape[0])):
            operators.insert(0, Gather(tuple(order)))
        source = Traced(input.session, input.steps, input.settled_shape)
        input.session.sorted[key] = source.then(*operators) if width > 1 else source.then(*operators[:-1])
    return input.session.sorted[key]


def _extreme(input: Traced, dim: int, keepdim: bool, rank: int) -> Traced:
    positions = sorted_along(input, dim)
    chosen = positions.positions().select(dim, rank)
    return positions.moved((chosen.unsqueeze(dim) if keepdim else chosen).contiguous())


@rule("sort")
def _sort(input: Traced, dim: int = -1, descending: bool = False, stable: bool = False) -> _Sorted:
    ordered = sorted_along(input, dim % input.dim())
    return _Sorted(ordered.moved(ordered.positions().flip(dim)) if descending else ordered)


@rule("maximum", "fmax")
def _maximum(input: Any, other: Any) -> Traced:
    return _of_two(input, other, 1)


@rule("minimum", "fmin")
def _minimum(input: Any, other: Any) -> Traced:
    return _of_two(input, other, 0)


def _of_two(one: Any, other: Any, rank: int) -> Traced:
    """The larger (rank 1) or smaller of two pieces of one activation, entry by entry."""
    if not isinstance(one, Traced) or not isinstance(other, Traced):
        traced, value = (one, other) if isinstance(one, Traced) else (other, one)
        if isinstance(value, Tensor) and value.numel() == 1:
            value = float(value)
        return _clamp_min(traced, value) if rank else _clamp(traced, None, value)
    if one.shape != other.shape:
        raise UnsupportedLayerError(f"compares activations of shapes {tuple(one.shape)} and {tuple(other.shape)}")
    return _extreme(torch.stack([one, other], dim=1), 1, False, rank)  # pyright: ignore[reportArgumentType]


@rule("max")
def _max(input: Traced, dim: Any = None, keepdim: bool = False) -> Any:
    return _max_or_min(input, dim, keepdim, -1)


@rule("min")
def _min(input: Traced, dim: Any = None, keepdim: bool = False) -> Any:
    return _max_or_min(input, dim, keepdim, 0)


def _max_or_min(input: Traced, dim: Any, keepdim: bool, rank: int) -> Any:
    if isinstance(dim, Tensor):
        return _of_two(input, dim, 1 if rank else 0)
    if dim is None:
        raise UnsupportedLayerError(
            "takes the extreme of all entries, images mixed; only groups of channels are bounded"
        )
    if rank and whole_map(input, dim) and len(input.settled_shape) > 1:  # of a vector in groups, it is a sort
        return _Sorted(_amax(input, dim, keepdim))
    return _Sorted(_extreme(input, dim % input.dim(), keepdim, rank))
