"""Skew orthogonal convolutions: the exponential of a convolution whose matrix is skew-symmetric.

Source: Singla, Feizi, "Skew Orthogonal Convolutions", ICML 2021 (arXiv 2105.11417), theorems 1 and 3.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from lip_plugin.models.layers.blocks.circular import CircularBlock
from lip_plugin.models.layers.blocks.gram import norm_from_above

_TERMS = 6


class SocBlock(CircularBlock):
    """The Taylor polynomial of degree 6 of exp(S), S = A - A^H scaled down to norm 1 where it is above.

    The rest of the series has norm below 1 / 7! + 1 / 8! + ... < 2.3e-4. The paper pads with zeros and convolves once
    per term; over a circular map the polynomial is one convolution, and its terms are products per frequency.
    """

    def __init__(self, channels: int, size: int, kernel: int) -> None:
        super().__init__(channels, size, kernel)
        nn.init.xavier_normal_(self.weight)

    def orthogonal(self, matrices: Tensor) -> Tensor:
        skew = matrices - matrices.mH
        skew = skew / norm_from_above(skew).clamp_min(1.0)
        square = skew @ skew
        identity = torch.eye(self.channels, dtype=skew.dtype, device=skew.device)
        higher = identity / 6 + skew / 24 + square / 120 + (cube := square @ skew) / 720
        return identity + skew + square / 2 + cube @ higher


REST = math.e - sum(1 / math.factorial(degree) for degree in range(_TERMS + 1))
"""Of the exponential series at 1: how far a singular value may be from 1."""
