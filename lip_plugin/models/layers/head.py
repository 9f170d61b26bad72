"""Linear heads, among them the one with last-layer normalisation (Singla et al., ICLR 2022)."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class LinearHead(nn.Module, ABC):
    """features (B, D) -> logits (B, K): the rows of `merged_weight` and a bias, however they are parametrised."""

    bias: Tensor
    """(K,)"""

    @abstractmethod
    def merged_weight(self) -> Tensor:
        """(K, D): the rows that act, differentiable in the parameters."""

    def forward(self, features: Tensor) -> Tensor:
        return F.linear(features, self.merged_weight(), self.bias)


class NormalizedHead(LinearHead):
    """features (B, D) -> logits (B, K) through rows w_i / ||w_i||_2; the bias is used as it is."""

    def __init__(self, dense_width: int, num_classes: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(num_classes, dense_width))
        self.bias = nn.Parameter(torch.zeros(num_classes))
        nn.init.orthogonal_(self.weight)

    def merged_weight(self) -> Tensor:
        """(K, D): the rows that act."""
        return F.normalize(self.weight, dim=1)
