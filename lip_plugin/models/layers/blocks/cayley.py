"""Cayley convolutions: orthogonal matrices (I + S)^(-1) (I - S) with S skew-Hermitian, at every frequency.

Source: Trockman, Kolter, "Orthogonalizing Convolutional Layers with the Cayley Transform", ICLR 2021
(arXiv 2104.07167), section 3; the kernel is g V / ||V||_F as in their section 4.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lip_plugin.models.layers.blocks.circular import CircularBlock


class CayleyBlock(CircularBlock):
    """S = A - A^H of a kernel with learned Frobenius norm ``gain``."""

    def __init__(self, channels: int, size: int, kernel: int) -> None:
        super().__init__(channels, size, kernel)
        nn.init.xavier_normal_(self.weight)
        self.gain = nn.Parameter(self.weight.detach().norm())

    def orthogonal(self, matrices: Tensor) -> Tensor:
        matrices = matrices * (self.gain / self.weight.norm())
        skew = matrices - matrices.mH
        identity = torch.eye(self.channels, dtype=skew.dtype, device=skew.device)
        return torch.linalg.solve(identity + skew, identity - skew)
