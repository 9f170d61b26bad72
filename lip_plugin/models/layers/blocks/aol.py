"""Almost orthogonal layers: a kernel rescaled per input channel so that its norm is at most 1.

Source: Prach, Lampert, "Almost-Orthogonal Layers for Efficient General-Purpose Lipschitz Networks", ECCV 2022
(arXiv 2208.03160), theorem 1 and its form for convolutions.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from lip_plugin.models.layers.blocks.base import full_precision
from lip_plugin.models.layers.blocks.gloro import ZeroPaddedBlock

_TINY = 1e-30


class AolBlock(ZeroPaddedBlock):
    """K diag(t)^(-1/2), t_i = sum over j and shifts of |(K^T K)_ij|: then diag(t) - K^T K is diagonally dominant.

    The norm stays below 1 where columns are not orthogonal: training estimates it, and freezing proves what it is.
    """

    def merged_weight(self) -> Tensor:
        with full_precision(self.weight):
            columns = self.weight.transpose(0, 1)
            overlaps = F.conv2d(columns, columns, padding=self.kernel - 1)
            sums = overlaps.abs().sum((1, 2, 3))
            return self.weight * sums.clamp_min(_TINY).rsqrt()[:, None, None]
