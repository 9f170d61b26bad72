"""MinMax: sort channel c against channel c + C/2. 1-Lipschitz and gradient-norm preserving."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from lip_plugin.errors import ConfigError


def require_even(**widths: int) -> None:
    """Raise ConfigError where a width that a MinMax acts on is not a positive even number."""
    for name, width in widths.items():
        if width < 2 or width % 2:
            raise ConfigError(f"{name} must be even and at least 2 (MinMax sorts pairs of channels), got {width}")


def minmax(x: Tensor) -> Tensor:
    """(B, C, ...) -> (B, C, ...): [max(a, b), min(a, b)] for the two halves a, b of the channels."""
    a, b = x.chunk(2, dim=1)
    return torch.cat([torch.maximum(a, b), torch.minimum(a, b)], dim=1)


class _MinMaxFunction(torch.autograd.Function):
    """One saved mask and one pass back, where autograd through max and min keeps both halves twice.

    On a tie the first half receives the gradient of the maximum.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        a, b = x.chunk(2, dim=1)
        ctx.save_for_backward(a >= b)
        return torch.cat([torch.maximum(a, b), torch.minimum(a, b)], dim=1)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> Tensor:
        (first_is_larger,) = ctx.saved_tensors
        of_max, of_min = grad_outputs[0].chunk(2, dim=1)
        return torch.cat(
            [torch.where(first_is_larger, of_max, of_min), torch.where(first_is_larger, of_min, of_max)], dim=1
        )


class MinMax(nn.Module):
    """MinMax over channels (dimension 1); the number of channels must be even."""

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = _MinMaxFunction.apply(x)  # type: ignore[no-untyped-call]
        return out
