"""Adaptive orthogonal convolutions (AOC): any stride, any number of channels, a kernel that is plainly orthogonal.

Sources: Boissin, Mamalet, Fel, Picard, Massena, Serrurier, "An Adaptive Orthogonal Convolution Scheme for Efficient
and Flexible CNN Architectures", ICML 2025 (arXiv 2501.07930), for the kernel as a product of a reshaped orthogonal
matrix, whose kernel is the stride, and a convolution of stride 1; Li, Haque, Anil, Lucas, Grosse, Jacobsen,
"Preventing Gradient Attenuation in Lipschitz Constrained Convolutional Networks", NeurIPS 2019 (arXiv 1911.00937), for
the latter as a product of pieces (P, I - P), P a symmetric projection.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lip_plugin.models.layers.orthogonal import MatrixName, haar, orthonormal
from lip_plugin.models.layers.patches import Patches
from lip_plugin.network import Conv, MinMax, Operator, Pad, minmax


class AdaptiveOrthogonalConv(Patches):
    """(B, I, n, n) -> (B, O, n / s, n / s) by a circular convolution of stride s, then MinMax.

    The kernel (O, I, s + k - 1, s + k - 1) is that of `Patches` after 2 (k - 1) pieces, each an orthogonal circular
    convolution of two taps, x(p) -> P x(p) + (I - P) x(p + 1) along one axis: rows are orthonormal, or columns if
    fewer. Where s does not divide the map it is zero-padded first.
    """

    def __init__(
        self, channels: int, size: int, outputs: int, stride: int, *, kernel: int = 3, matrix: MatrixName = "cholesky"
    ) -> None:
        super().__init__(channels, size, outputs, stride, matrix=matrix)
        self.kernel = min(kernel, size + sum(self.padding))
        bases = haar(2 * (self.kernel - 1), channels, channels)[..., : max(channels // 2, 1)]
        self.bases = nn.ParameterList(base.clone() for base in bases)

    def merged_kernel(self) -> Tensor:
        """(O, I, s + k - 1, s + k - 1)"""
        kernel = super().merged_kernel()
        return with_pieces(kernel, orthonormal(torch.stack([*self.bases]), "bjorck")) if len(self.bases) else kernel

    def forward(self, x: Tensor) -> Tensor:
        top, bottom, left, right = self._around()
        x = F.pad(F.pad(x, self.padding * 2), (left, right, top, bottom), mode="circular")
        return minmax(F.conv2d(x, self.merged_kernel(), self.bias, stride=self.patch))

    def freeze(self) -> tuple[Operator, ...]:
        around = self._around()
        mode = "circular" if any(around) else "zeros"
        stride = (self.patch, self.patch)
        conv = Conv(self.merged_kernel(), self.bias, stride=stride, padding=around, padding_mode=mode)
        padded = (Pad((*self.padding, *self.padding)),) if any(self.padding) else ()
        return *padded, conv, MinMax()

    def _around(self) -> tuple[int, int, int, int]:
        before, after = self.kernel // 2, (self.kernel - 1) // 2
        return before, after, before, after


def with_pieces(kernel: Tensor, bases: Iterable[Tensor]) -> Tensor:
    """(O, C, a, b) and m bases (C, r) -> (O, C, a + m / 2, b + m / 2): that convolution after m pieces.

    Each basis has orthonormal columns, P = basis basis^T; the pieces lie along the rows and the columns in turn.
    With tap t of the kernel and the piece's (P, I - P), tap t of the product is K(t) P + K(t - 1) (I - P).
    """
    with torch.autocast(kernel.device.type, enabled=False):
        for index, basis in enumerate(bases):
            kept = torch.einsum("oikl,ir,jr->ojkl", kernel, basis, basis)
            other_axis = (0, 0) * (index % 2)
            kernel = F.pad(kept, (*other_axis, 0, 1)) + F.pad(kernel - kept, (*other_axis, 1, 0))
        return kernel
