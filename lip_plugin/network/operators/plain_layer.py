"""An operator as a person would write it in torch: what it needs in ``__init__``, and its part of ``forward``."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class PlainLayer:
    """``code`` is an expression in which ``{x}`` is the input and ``{self}`` the layer's own module or buffer.

    ``declared`` constructs that module, or the buffer where ``is_buffer``, which goes by ``name``; it is empty for a
    layer without tensors. ``states`` names the operator's tensors, in their order, below that module; none for the
    names of its fields. ``before`` prepares x in a statement of its own. ``helpers`` are the functions that it calls,
    as source: each defines one function from torch and ``F`` alone. ``wraps``: a call that reads well around another
    one.

        PlainLayer("F.relu({x})", wraps=True)
        PlainLayer("{self}({x})", "dense", "nn.Linear(8, 4)")
    """

    code: str
    name: str = ""
    declared: str = ""
    is_buffer: bool = False
    states: tuple[str, ...] = ()
    before: str = ""
    helpers: tuple[str, ...] = ()
    wraps: bool = False


def as_operand(layer: PlainLayer, x: str) -> str:
    """The expression ``x`` where the layer's code has its input: in parentheses, but for arguments and lone names."""
    argument = "({x})" in layer.code or "({x}," in layer.code
    return x if argument or x in ("x", "{x}") else f"({x})"


def composed(layer: PlainLayer, x: str, own: str) -> str:
    """The layer's expression of the expression ``x``, which is written once, with ``own`` for its module."""
    x = layer.before.format(x=x) if layer.before else x
    if layer.code.count("{x}") == 1:
        return layer.code.format(x=as_operand(layer, x), self=own)
    return f"(lambda y: {layer.code.format(x='y', self=own)})({x})"


def weight_keywords(weight: Tensor, bias: Tensor | None) -> dict[str, tuple[str, str]]:
    """Of every layer with a weight: keyword -> (value, default)."""
    return {
        "bias": ("True" if bias is not None else "False", "True"),
        "dtype": ("torch.float64" if weight.dtype == torch.float64 else "", ""),
    }


def changed(keywords: dict[str, tuple[str, str]]) -> list[str]:
    """``keyword=value`` for every one that differs from its default."""
    return [f"{name}={value}" for name, (value, default) in keywords.items() if value != default]


def short(pair: tuple[int, ...]) -> str:
    """One number where all are equal."""
    return str(pair[0]) if len(set(pair)) == 1 else repr(pair)
