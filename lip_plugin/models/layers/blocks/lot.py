"""LOT: the nearest orthogonal matrix (V V^H)^(-1/2) V at every frequency, by Newton's iteration.

Source: Xu, Li, Li, "LOT: Layer-wise Orthogonal Training on Improving l2 Certified Robustness", NeurIPS 2022
(arXiv 2210.11620), section 4. Their coupled iteration for (V V^H)^(-1/2), multiplied by V, is Y <- (3 Y - Y Y^H Y) / 2
from Y = V / ||V V^H||_F^(1/2), which is what runs here: one product per step less.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lip_plugin.models.layers.blocks.circular import CircularBlock

_STEPS = 10
_TINY = 1e-30


class LotBlock(CircularBlock):
    """Singular values start in (0, 1] and rise to 1 from below, the largest one first."""

    def orthogonal(self, matrices: Tensor) -> Tensor:
        size = torch.linalg.vector_norm(matrices @ matrices.mH, dim=(1, 2), keepdim=True)
        y = matrices * size.clamp_min(_TINY).rsqrt()
        for _ in range(_STEPS):
            y = 1.5 * y - 0.5 * y @ (y.mH @ y)
        return y
