"""What gives back the activation as it is: dropout in eval mode, copies, conversions to what it already is."""

from __future__ import annotations

from typing import Any

import torch

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


@rule("clone", "detach", "cpu", "cuda", "requires_grad_", "data")
def _same(input: Traced, *arguments: Any, **settings: Any) -> Traced:
    return input.moved(input.positions())


@rule("to", "type", "type_as", "float", "double", "half", "bfloat16")
def _converted(input: Any, *arguments: Any, **settings: Any) -> Any:
    if not isinstance(input, Traced):  # fixed numbers, made like the activation
        like = next(value for value in (*arguments, *settings.values()) if isinstance(value, Traced))
        return input.to(like.device, like.dtype)
    wanted = [value for value in (*arguments, *settings.values()) if isinstance(value, torch.dtype)]
    wanted += [value.dtype for value in arguments if isinstance(value, torch.Tensor)]
    return _in_dtype(input, wanted[0] if wanted else input.dtype)


def _in_dtype(input: Traced, dtype: torch.dtype) -> Traced:
    if dtype != input.dtype:
        raise UnsupportedLayerError(f"converts the activation from {input.dtype} to {dtype}; keep one dtype throughout")
    return input.moved(input.positions())
