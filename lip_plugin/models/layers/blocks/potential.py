"""CPL and SLL layers: residual steps x - W^T (g relu(W x + b)) on a convex potential, g chosen so that they keep norms.

Both freeze into `ConvexPotential`, whose constant is max(1, ||diag(g)^(1/2) W||^2 - 1): with the g below it is 1.

Sources: CPL: Meunier, Delattre, Araujo, Allauzen, "A Dynamical System Perspective for Lipschitz Neural Networks",
ICML 2022 (arXiv 2110.12690), theorem 1. SLL: Araujo, Havens, Delattre, Allauzen, Hu, "A Unified Algebraic Perspective
on Lipschitz Neural Networks", ICLR 2023 (arXiv 2303.03169), theorems 2 and 3.
"""

from __future__ import annotations

from abc import abstractmethod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lip_plugin.models.layers.blocks.base import Block, full_precision
from lip_plugin.models.layers.blocks.gram import conv_norm_from_above
from lip_plugin.network import ConvexPotential, Operator

_TINY = 1e-30


class PotentialBlock(Block):
    """The step with a zero-padded convolution W of odd kernel, as many hidden channels as channels."""

    def __init__(self, channels: int, size: int, kernel: int) -> None:
        super().__init__(channels, size, kernel)
        self.weight = nn.Parameter(nn.init.xavier_normal_(torch.empty(channels, channels, kernel, kernel)))
        self.bias = nn.Parameter(torch.zeros(channels))

    @abstractmethod
    def scale(self) -> Tensor:
        """(C,) g >= 0, such that ||diag(g)^(1/2) W||^2 <= 2."""

    def forward(self, x: Tensor) -> Tensor:
        with full_precision(self.weight):
            scale = self.scale()
        hidden = F.relu(F.conv2d(x, self.weight, self.bias, padding=self.kernel // 2)) * scale[:, None, None]
        return x - F.conv_transpose2d(hidden, self.weight, padding=self.kernel // 2)

    def freeze(self) -> tuple[Operator, ...]:
        padding = (self.kernel // 2, self.kernel // 2)
        return (ConvexPotential(self.weight, self.bias, self.scale(), padding),)


class CplBlock(PotentialBlock):
    """g = 2 / ||W||^2. The paper estimates the norm by power iteration, from below; here Gram iteration takes it from
    above, so that norms are kept from the first step on and nothing is remembered between steps.
    """

    def scale(self) -> Tensor:
        norm = conv_norm_from_above(self.weight, self.size).clamp_min(_TINY**0.5)
        return (2 / norm.square()).expand(self.channels)


class SllBlock(PotentialBlock):
    """g = 2 / T, T_i = sum over j and shifts of |(W W^T)_ij| q_j / q_i with q > 0: T - W W^T is diagonally dominant.

    ``log_q`` holds ln q, so that the quotients are exact and nothing is added to q: the first published code had an
    epsilon there and was not 1-Lipschitz (corrected figures: appendix D of the paper's last version).
    """

    def __init__(self, channels: int, size: int, kernel: int) -> None:
        super().__init__(channels, size, kernel)
        self.log_q = nn.Parameter(torch.zeros(channels))

    def scale(self) -> Tensor:
        overlaps = F.conv2d(self.weight, self.weight, padding=self.kernel - 1).abs().sum((2, 3))
        sums = (overlaps * (self.log_q - self.log_q[:, None]).exp()).sum(1)
        return torch.where(sums > _TINY, 2 / sums.clamp_min(_TINY), 0.0)
