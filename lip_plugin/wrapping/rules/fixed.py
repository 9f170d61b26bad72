"""Fixed numbers that a forward makes in the shape or dtype of the activation: they do not depend on its values."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lip_plugin.wrapping.registry import rule
from lip_plugin.wrapping.traced import Traced, constant


def _like(input: Traced, settings: dict[str, Any]) -> dict[str, Any]:
    """The dtype and device asked for, or else the activation's."""
    return {
        "dtype": settings.get("dtype") or input.dtype,
        "device": input.device if settings.get("device") is None else settings["device"],
    }


@rule("zeros_like")
def _zeros_like(input: Traced, **settings: Any) -> Tensor:
    return torch.zeros(tuple(input.shape), **_like(input, settings))


@rule("ones_like")
def _ones_like(input: Traced, **settings: Any) -> Tensor:
    return torch.ones(tuple(input.shape), **_like(input, settings))


@rule("full_like")
def _full_like(input: Traced, fill_value: Any, **settings: Any) -> Tensor:
    return torch.full(tuple(input.shape), constant(fill_value, "a number"), **_like(input, settings))


@rule("new_tensor")
def _new_tensor(input: Traced, data: Any, **settings: Any) -> Tensor:
    return torch.as_tensor(constant(data, "a number"), **_like(input, settings)).clone()


@rule("new_zeros")
def _new_zeros(input: Traced, *size: Any, **settings: Any) -> Tensor:
    return torch.zeros(*size, **_like(input, settings))


@rule("new_ones")
def _new_ones(input: Traced, *size: Any, **settings: Any) -> Tensor:
    return torch.ones(*size, **_like(input, settings))


@rule("new_full")
def _new_full(input: Traced, size: Any, fill_value: Any, **settings: Any) -> Tensor:
    return torch.full(size, constant(fill_value, "a number"), **_like(input, settings))
