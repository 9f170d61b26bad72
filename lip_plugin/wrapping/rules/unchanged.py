"""What gives back the activation as it is: dropout in eval mode, copies, conversions to what it already is."""

from __future__ import annotations

from typing import Any

import torch
from torch.utils import _pytree as pytree

from lip_plugin.errors import UnsupportedLayerError
from lip_plugin.wrapping.registry import rule
from lip_plugin.wrapping.traced import Traced


@rule("dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout", "feature_dropout", "feature_alpha_dropout")
def _dropout(input: Traced, p: float = 0.5, training: bool = True, inplace: bool = False) -> Traced:
    if training:
        raise UnsupportedLayerError("drops entries at random, also in eval mode; pass training=self.training")
    return input


@rule("contiguous")
def _contiguous(input: Traced, *arguments: Any, **settings: Any) -> Traced:
    """Which `view` after `transpose` needs."""
    return input.moved(input.positions().contiguous())


@rule("detach", "cpu", "cuda", "requires_grad_")
def _same(input: Traced, *arguments: Any, **settings: Any) -> Traced:
    return input.moved(input.positions())


@rule("clone")
def _clone(input: Traced, *, memory_format: Any = None) -> Traced:
    return input.copied(input.positions())


def _conversion(name: str) -> Any:
    def convert(input: Any, *arguments: Any, **settings: Any) -> Any:
        """What torch makes of an empty tensor of this dtype, so that every form of the arguments is understood."""
        if not isinstance(input, Traced):  # fixed numbers, made like the activation
            like = next(value for value in (*arguments, *settings.values()) if isinstance(value, Traced))
            return input.to(like.device, like.dtype)
        empty = torch.empty(0, dtype=input.dtype, device="cpu")
        given: Any = pytree.tree_map(lambda value: empty if isinstance(value, Traced) else value, (arguments, settings))
        found = getattr(empty, name)(*given[0], **given[1])
        if not isinstance(found, torch.Tensor):
            raise UnsupportedLayerError(f"asks for the {name} of the activation; only conversions are read")
        if found.dtype != input.dtype:
            raise UnsupportedLayerError(
                f"converts the activation from {input.dtype} to {found.dtype}; keep one dtype throughout"
            )
        return input.moved(input.positions())

    return convert


for _name in ("to", "type", "type_as", "float", "double", "half", "bfloat16"):
    rule(_name)(_conversion(_name))
