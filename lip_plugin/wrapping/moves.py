"""Functions that only move entries, and the operators that do the same: view, permute, chunk, slices, cat of pieces.

They are applied to the positions of the entries instead of the entries, so that any composition of them is known
exactly, and looked up here once a computation needs the result.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from lip_plugin.errors import UnsupportedLayerError
from lip_plugin.network import Flatten, Gather, Operator, PixelShuffle, PixelUnshuffle, Reshape
from lip_plugin.types import Shape

_MOST_MOVED = 2**14
"""Entries of a vector that are moved one by one."""


def moving_operators(index: Tensor, shape: Shape) -> tuple[Operator, ...]:
    """The operators on activations of ``shape`` that put the entries where ``index`` (B, ...) says.

    Raises UnsupportedLayerError where images are mixed, or entries moved in no way that has an operator.
    """
    if bool((index < 0).any()):
        raise UnsupportedLayerError("leaves entries of an empty tensor unwritten; write every one of them")
    count = math.prod(shape)
    first = index[0] if index.dim() and len(index) else index
    starts = count * torch.arange(len(index), dtype=index.dtype).view(-1, *[1] * (index.dim() - 1))
    if not index.dim() or not torch.equal(index, first + starts):
        raise UnsupportedLayerError("mixes images, or moves the batch dimension; keep images apart along dimension 0")
    wanted = first.long()
    for operators in _candidates(wanted, shape):
        if operators is not None and _does(operators, wanted, shape):
            return operators
    raise UnsupportedLayerError(
        f"rearranges {shape} to {tuple(wanted.shape)} entry by entry, which has no operator; "
        "permute channels, flatten, or use PixelShuffle and PixelUnshuffle"
    )


def _does(operators: tuple[Operator, ...], wanted: Tensor, shape: Shape) -> bool:
    """Whether they really do: what is looked up is tried out on the positions themselves."""
    x = torch.arange(math.prod(shape), dtype=torch.float64, device="cpu").view(1, *shape)
    try:
        for operator in operators:
            operator.output_shape(tuple(x.shape[1:]))
            x = operator.apply(x)
    except UnsupportedLayerError:
        return False
    return x.shape[1:] == wanted.shape and torch.equal(x[0].long(), wanted)


def _candidates(wanted: Tensor, shape: Shape) -> Iterator[tuple[Operator, ...] | None]:
    out = tuple(wanted.shape)
    to_out = _reshaped(shape, out)
    if math.prod(out) == math.prod(shape):
        yield to_out
    if wanted.numel() == 0:
        return
    if shape:
        yield _channels_gathered(wanted, shape)
    if len(shape) == len(out) == 3:
        yield from _shuffled(shape, out)
    if max(math.prod(out), math.prod(shape)) <= _MOST_MOVED:
        flat = (math.prod(shape),)
        gathered = Gather(tuple(wanted.flatten().tolist()))
        yield (*_reshaped(shape, flat), gathered, *_reshaped((wanted.numel(),), out))


def _reshaped(shape: Shape, out: Shape) -> tuple[Operator, ...]:
    if shape == out:
        return ()
    return (Flatten(),) if out == (math.prod(shape),) else (Reshape(out),)


def _channels_gathered(wanted: Tensor, shape: Shape) -> tuple[Operator, ...] | None:
    """Whole channels taken in another order, then perhaps another shape."""
    size = math.prod(shape[1:])
    if wanted.numel() % size:
        return None
    channels = wanted.reshape(-1, size)[:, 0] // size
    gathered = Gather(tuple(channels.tolist()))
    return (gathered, *_reshaped((len(channels), *shape[1:]), tuple(wanted.shape)))


def _shuffled(shape: Shape, out: Shape) -> Iterator[tuple[Operator, ...]]:
    if shape[1] > out[1] > 0 and shape[1] % out[1] == 0:
        yield (PixelUnshuffle(shape[1] // out[1]),)
    if out[1] > shape[1] > 0 and out[1] % shape[1] == 0:
        yield (PixelShuffle(out[1] // shape[1]),)
