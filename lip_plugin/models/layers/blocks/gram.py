"""The largest norm in a batch of matrices from above, cheaply and with a gradient: what parametrisations divide by.

Source: Delattre, Barthelemy, Araujo, Allauzen, "Efficient Bound of Lipschitz Constant for Convolutional Layers by Gram
Iteration", ICML 2023 (arXiv 2305.16173), theorem 1. Not a proof: its rounding is not counted.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

_SQUARINGS = 5
_TINY = 1e-30


def norm_from_above(matrices: Tensor) -> Tensor:
    """Scalar, for (F, M, N) real or complex: ||A|| <= ||(A^H A)^q||_F^(1 / 2q) with q = 2^5.

    At most r^(1 / 4q) too large for rank r, which is 3 % at rank 64 where all singular values are equal. Its gradient
    is that of ||A v|| for the largest A and the leading v that the powers show: no squaring is differentiated.
    """
    with torch.no_grad():
        gram = matrices.mH @ matrices
        logarithm = torch.zeros(len(gram), dtype=gram.real.dtype, device=gram.device)
        for _ in range(_SQUARINGS):
            size = _frobenius(gram)
            gram = gram / size[:, None, None]
            gram = gram @ gram
            logarithm = 2 * (logarithm + size.log())
        logarithm = (logarithm + _frobenius(gram).log()) / 2 ** (_SQUARINGS + 1)
        largest = logarithm.argmax()
        columns = gram[largest]
        v = columns[:, torch.linalg.vector_norm(columns, dim=0).argmax()]
        v = v / torch.linalg.vector_norm(v).clamp_min(_TINY)
    stretch = torch.linalg.vector_norm(matrices[largest] @ v)
    return logarithm[largest].exp() + (stretch - stretch.detach())


def conv_norm_from_above(weight: Tensor, size: int) -> Tensor:
    """Of a zero-padded convolution (O, I, k, k) on an n x n map: the circular one on a map with room for all shifts."""
    grid = size + weight.shape[-1] - 1
    room = grid - weight.shape[-1]
    spectrum = torch.fft.rfft2(F.pad(weight, (0, room, 0, room))) if grid > 1 else weight
    return norm_from_above(spectrum.flatten(2).permute(2, 0, 1))


def _frobenius(matrices: Tensor) -> Tensor:
    return torch.linalg.vector_norm(matrices, dim=(1, 2)).clamp_min(_TINY)
