"""Random orthogonal matrices."""

from __future__ import annotations

import torch
from torch import Tensor


def haar(*shape: int) -> Tensor:
    """(..., N, N) in torch's default dtype, uniform on the orthogonal group, from torch's global generator.

    Q of a QR decomposition with the signs of R's diagonal, without which it is not uniform (Mezzadri 2007).
    """
    q, r = torch.linalg.qr(torch.randn(*shape, dtype=torch.float64))
    signs = torch.where(r.diagonal(dim1=-2, dim2=-1) < 0, -1.0, 1.0)
    return (q * signs[..., None, :]).to(torch.get_default_dtype())
