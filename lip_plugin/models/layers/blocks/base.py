"""What the blocks of the comparison architecture share: a map of a fixed shape onto itself, and how it freezes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor, nn

from lip_plugin.network import Operator


class Block(nn.Module, ABC):
    """A trainable map (B, C, n, n) -> (B, C, n, n) with its activation, C even.

    A dense layer is a block of ``size`` 1 and ``kernel`` 1. ``estimated``: training estimates the norms of its linear
    operators; the others count as 1, which freezing proves or pays for.
    """

    estimated: ClassVar[bool] = False

    def __init__(self, channels: int, size: int, kernel: int) -> None:
        super().__init__()
        self.channels, self.size, self.kernel = channels, size, kernel

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor: ...

    @abstractmethod
    def freeze(self) -> tuple[Operator, ...]:
        """The same map as plain operators; gradient flows to the parameters."""


def rotation_kernel(channels: int, kernel: int) -> Tensor:
    """(C, C, k, k): an orthogonal matrix in the middle, zero around it: a start that keeps norms."""
    weight = torch.zeros(channels, channels, kernel, kernel)
    weight[:, :, kernel // 2, kernel // 2] = nn.init.orthogonal_(torch.empty(channels, channels))
    return weight


def full_precision(x: Tensor) -> torch.autocast:
    """A context in which parametrisations are computed in the precision of their parameters, whatever autocast says."""
    return torch.autocast(x.device.type, enabled=False)
