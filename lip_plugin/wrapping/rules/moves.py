"""Functions that only move entries: applied to their positions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from lip_plugin.errors import UnsupportedLayerError
from lip_plugin.network import ChannelShuffle, Flatten, PixelShuffle, PixelUnshuffle
from lip_plugin.wrapping.pieces import NOTHING, put_together, side_by_side
from lip_plugin.wrapping.registry import FUNCTIONS, functions_named, rule
from lip_plugin.wrapping.traced import BATCH, Traced

_MOVES = (
    *("view", "reshape", "view_as", "reshape_as", "unflatten", "squeeze", "unsqueeze", "ravel"),
    *("permute", "transpose", "swapaxes", "swapdims", "movedim", "moveaxis", "t", "adjoint", "T", "mT"),
    *(
        "chunk",
        "split",
        "split_with_sizes",
        "tensor_split",
        "unbind",
        "narrow",
        "select",
        "index_select",
        "__getitem__",
    ),
    *("cat", "concat", "concatenate", "stack", "flip", "roll", "rot90", "expand", "expand_as", "repeat"),
    *("repeat_interleave", "take_along_dim", "gather", "tile"),
)


def _moving(function: Callable[..., Any]) -> Callable[..., Any]:
    def moved(*args: Any, **kwargs: Any) -> Any:
        """The function, run on positions."""
        name = name_of(function)
        if name in _SHAPED_LIKE:
            args, kwargs = _by_shape(*args, **kwargs), {}
            if not isinstance(args[0], Traced):
                return function(*args)
        activations = [value for value in pytree.tree_leaves((args, kwargs)) if isinstance(value, Traced)]
        first = activations[0]
        others = [value for value in pytree.tree_leaves((args, kwargs)) if isinstance(value, Tensor)]
        if name in _JOINS and len(others) != len(activations):
            raise UnsupportedLayerError(f"{name} joins the activation with fixed numbers, which has no operator")
        if any(not _same_source(value, first) for value in activations):
            return _joined(function, name, args, kwargs, activations)
        positions = pytree.tree_map(_positions, (args, kwargs))
        try:
            out = function(*positions[0], **positions[1])
        except (RuntimeError, IndexError, ValueError) as error:
            raise UnsupportedLayerError(f"{name} does not fit here: {str(error).splitlines()[0]}") from error
        made = first.copied if name in _COPIES else first.moved
        return pytree.tree_map(lambda value: made(value) if isinstance(value, Tensor) else value, out)

    return moved


def _joined(function: Callable[..., Any], name: str, args: Any, kwargs: Any, activations: Sequence[Traced]) -> Traced:
    """Pieces of several activations."""
    if name in _JOINS:
        together = put_together(activations, lambda values: function(values, *args[1:], **_settings(kwargs)))
        if together is not None:
            return together
        dim = kwargs.get("dim", kwargs.get("axis", args[1] if len(args) > 1 else 0))
        if name != "stack" and dim % activations[0].dim() == 1:
            return side_by_side(activations)
    raise UnsupportedLayerError(
        f"{name} joins branches that computed different things, not along their channels; join those by "
        "torch.cat(branches, 1) or by sums, (a + b) / 2"
    )


def _settings(kwargs: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in kwargs.items() if key != "tensors"}


def _by_shape(input: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    """The second one without numbers, since only its shape counts."""
    return input, torch.empty(tuple(other.shape), device="meta")


def name_of(function: Callable[..., Any]) -> str:
    return getattr(function, "__name__", "this")


def _positions(value: Any) -> Any:
    return value.positions() if isinstance(value, Traced) else value


_SHAPED_LIKE = {"view_as", "reshape_as", "expand_as"}
_JOINS = {"cat", "concat", "concatenate", "stack"}
_COPIES = _JOINS | {"flip", "roll", "rot90", "repeat", "repeat_interleave", "tile", "index_select", "gather"}
"""What never gives a view of the activation."""


def _same_source(one: Traced, other: Traced) -> bool:
    """Whether both hold entries of the same activation."""
    return len(one.steps) == len(other.steps) and all(map(lambda a, b: a is b, one.steps, other.steps))


def _register() -> None:
    for name in _MOVES:
        for function in functions_named(name):
            if not getattr(function, "__name__", "").endswith("_") or name == "__getitem__":
                FUNCTIONS.setdefault(function, _moving(function))
    for name in ("T", "mT"):
        FUNCTIONS[name] = _moving(getattr(Tensor, name).__get__)


_register()


@rule("squeeze_", "unsqueeze_", "transpose_", "swapaxes_", "swapdims_", "t_")
def _in_place(input: Traced, *arguments: Any, **settings: Any) -> Traced:
    raise UnsupportedLayerError("rearranges an activation in place; use what the function without the underscore gives")


@rule("flatten")
def _flatten(input: Traced, start_dim: int = 0, end_dim: int = -1) -> Traced:
    if (start_dim, end_dim % input.dim()) == (1, input.dim() - 1) and input.places is None and input.dim() > 2:
        return input.viewed(Flatten())
    return input.moved(input.positions().flatten(start_dim, end_dim))


@rule("pixel_shuffle")
def _pixel_shuffle(input: Traced, upscale_factor: int) -> Traced:
    return input.viewed(PixelShuffle(upscale_factor))


@rule("pixel_unshuffle")
def _pixel_unshuffle(input: Traced, downscale_factor: int) -> Traced:
    return input.viewed(PixelUnshuffle(downscale_factor))


@rule("channel_shuffle", "native_channel_shuffle")
def _channel_shuffle(input: Traced, groups: int) -> Traced:
    return input.viewed(ChannelShuffle(groups))


@rule("__len__")
def _length(input: Traced) -> int:
    return BATCH


@rule("stride")
def _stride(input: Traced, *arguments: Any) -> Any:
    return input.positions().stride(*arguments)


@rule("empty_like", "new_empty")
def _empty(input: Traced, *size: Any, **settings: Any) -> Traced:
    """Entries that are still to be written, of the activation's shape."""
    sizes = size[0] if len(size) == 1 and not isinstance(size[0], int) else size
    return input.copied(torch.full(tuple(sizes) or tuple(input.shape), NOTHING, dtype=torch.float64))


@rule("__setitem__")
def _write(input: Any, key: Any, value: Any) -> None:
    """Pieces written one after the other: together they are one activation, once nothing is missing."""
    if not isinstance(input, Traced) or not isinstance(value, Traced):
        raise UnsupportedLayerError(
            "writes fixed numbers into an activation, or an activation into fixed numbers; put pieces together by "
            "torch.cat or torch.stack, starting from x.clone() or torch.empty_like(x)"
        )

    written_now = value.positions()
    if bool((written_now < 0).any()):
        raise UnsupportedLayerError("writes entries of an empty tensor before they are written; write those first")
    place = pytree.tree_map(lambda part: part.clone() if isinstance(part, Tensor) else part, key)
    input.pieces.append((place, value.copied(written_now)))  # as both are now

    def written(values: list[Tensor]) -> Tensor:
        out = values[0].clone()
        for (place, _), piece in zip(input.pieces, values[1:], strict=True):
            out[place] = piece
        return out

    base = input.copied(input.positions())
    pieces = [base, *(piece for _, piece in input.pieces)]
    if bool((written([piece.positions() for piece in pieces]) < 0).any()):
        return  # more will be written
    together = put_together(pieces, written)
    if together is None:
        raise UnsupportedLayerError(
            "writes branches that computed different things into one activation; use torch.cat(branches, 1)"
        )
    input.overwrite(together)
    input.pieces.clear()
