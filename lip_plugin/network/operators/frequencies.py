"""What operators by frequency share: the transforms of a map, their rounding, and both in plain torch.

The transform is no library FFT, whose rounding would have to be assumed, but a product with one matrix per axis. Maps
are small, so that it costs little beside the products over channels, and its rounding is that of plain dot products.

Letters: N M sides of the map, K = M // 2 + 1 kept frequencies of its width, C channels, B batch. A complex matrix
(m, n) per frequency is stored as (N, K, 2 m, n), its real parts above its imaginary parts.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lip_plugin.bounds import abs_norm_upper_bound
from lip_plugin.bounds.rounding import add_up, mul_up, sqrt_up, up
from lip_plugin.errors import UnsupportedLayerError
from lip_plugin.network.operators.base import RoundingTerm, Window, Windows, require_tensor
from lip_plugin.network.operators.rounding import gamma_upper_bound, underflow_upper_bound

_ENTRY_ERROR = 2.0**-48
"""Bound of the error of one computed entry of a transform in float64.

Its cosine is within 2^-49 of the exact one (`bounds.symbol.TWIDDLE_ERROR`: the same angle, reduced exactly), and what
it is multiplied by, at most 1 altogether, costs seven roundings at most: 2^-49 + 7 * 2^-53."""


def cosines(size: int) -> tuple[Tensor, Tensor]:
    """Cosine and sine (N, N) of 2 pi k h / N, float64 on the CPU, their arguments reduced exactly."""
    index = torch.arange(size, device="cpu")
    turns = torch.outer(index, index) % size
    angle = torch.where(2 * turns > size, turns - size, turns).double() * (2.0 * torch.pi) / size
    return angle.cos(), angle.sin()


def height_transform(size: int) -> Tensor:
    """(2 N, 2 N): the discrete Fourier transform of N complex numbers, real parts first; orthogonal."""
    cosine, sine = (part * (1.0 / size) ** 0.5 for part in cosines(size))
    return torch.cat([torch.cat([cosine, sine], 1), torch.cat([-sine, cosine], 1)])


def width_transform(size: int) -> Tensor:
    """(2 K, M): that of M real numbers, frequencies 0 to M // 2. Those that stand for two count sqrt(2): isometry."""
    kept = size // 2 + 1
    cosine, sine = (part[:kept] * (2.0 / size) ** 0.5 for part in cosines(size))
    alone = [0, size // 2] if size % 2 == 0 else [0]  # M = 1: frequency 0 alone
    cosine[alone] *= 0.5**0.5
    sine[alone] = 0.0
    return torch.cat([cosine, -sine])


def transforms(x: Tensor) -> tuple[Tensor, Tensor]:
    """Those along the height and the width of maps (B, C, N, M), in their format and place."""
    return height_transform(x.shape[2]).to(x), width_transform(x.shape[3]).to(x)


def to_frequencies(x: Tensor, along_h: Tensor, along_w: Tensor) -> tuple[Tensor, Tensor]:
    """(B, C, N, M) -> real and imaginary parts (N K, C, B) of its Fourier coefficients, those of l > M / 2 left out.

    The parts go apart, so that nothing as large as a batch of maps is copied between this permutation and the last.
    """
    batch, channels, height, width = x.shape
    from_real, from_imaginary = along_h.chunk(2, 1)
    even, odd = along_w.chunk(2)
    z = x.permute(2, 3, 1, 0).reshape(height, width, channels * batch)
    z = torch.addmm(from_real @ (even @ z).flatten(1), from_imaginary, (odd @ z).flatten(1))
    real, imaginary = z.view(2, height * len(even), channels, batch)
    return real, imaginary


def from_frequencies(real: Tensor, imaginary: Tensor, along_h: Tensor, along_w: Tensor) -> Tensor:
    """The way back, by the transposed transforms: real and imaginary parts (N K, C, B) -> (B, C, N, M)."""
    _, channels, batch = real.shape
    to_real, to_imaginary = along_h.chunk(2)
    even, odd = along_w.chunk(2)
    height, width = len(to_real), even.shape[1]
    z = torch.addmm(to_real.mT @ real.view(height, -1), to_imaginary.mT, imaginary.view(height, -1))
    real, imaginary = z.view(2, height, len(even), channels * batch)
    return (even.mT @ real + odd.mT @ imaginary).view(height, width, channels, batch).permute(3, 2, 0, 1)


PLAIN_FREQUENCIES = '''\
def transforms(x):
    """Discrete Fourier transforms along the height and the width of maps, as real matrices."""

    def waves(size):
        index = torch.arange(size, device="cpu")
        turns = torch.outer(index, index) % size
        angle = torch.where(2 * turns > size, turns - size, turns).double() * (2.0 * torch.pi) / size
        return angle.cos(), angle.sin()

    height, width = x.shape[2:]
    cosine, sine = (part * (1.0 / height) ** 0.5 for part in waves(height))
    along_h = torch.cat([torch.cat([cosine, sine], 1), torch.cat([-sine, cosine], 1)])
    cosine, sine = (part[: width // 2 + 1] * (2.0 / width) ** 0.5 for part in waves(width))
    alone = [0, width // 2] if width % 2 == 0 else [0]
    cosine[alone] *= 0.5**0.5
    sine[alone] = 0.0
    return along_h.to(x), torch.cat([cosine, -sine]).to(x)


def to_frequencies(x, along_h, along_w):
    """Maps (B, C, N, M) to real and imaginary parts (N K, C, B) of their coefficients."""
    batch, channels, height, width = x.shape
    from_real, from_imaginary = along_h.chunk(2, 1)
    even, odd = along_w.chunk(2)
    z = x.permute(2, 3, 1, 0).reshape(height, width, channels * batch)
    z = torch.addmm(from_real @ (even @ z).flatten(1), from_imaginary, (odd @ z).flatten(1))
    real, imaginary = z.view(2, height * len(even), channels, batch)
    return real, imaginary


def from_frequencies(real, imaginary, along_h, along_w):
    """The way back."""
    _, channels, batch = real.shape
    to_real, to_imaginary = along_h.chunk(2)
    even, odd = along_w.chunk(2)
    height, width = len(to_real), even.shape[1]
    z = torch.addmm(to_real.mT @ real.view(height, -1), to_imaginary.mT, imaginary.view(height, -1))
    real, imaginary = z.view(2, height, len(even), channels * batch)
    return (even.mT @ real + odd.mT @ imaginary).view(height, width, channels, batch).permute(3, 2, 0, 1)
'''
"""For `plain_layer`: the same calls in the same order."""


def require_matrices(tensor: Tensor, name: str) -> None:
    """Raise UnsupportedLayerError unless it holds real and imaginary parts of a matrix per frequency."""
    require_tensor(tensor, name, 4)
    if 0 in tensor.shape or tensor.shape[2] % 2:
        raise UnsupportedLayerError(
            f"{name} {tuple(tensor.shape)} must hold real and imaginary parts of C channels, (N, K, 2 C, r)"
        )


def frequency_windows(height: int, width: int) -> tuple[Windows, ...]:
    """Every frequency of an axis reads every place on it."""
    return ((Window(height, height, height), Window(width, width, width)),)


class RoundingSteps:
    """Of linear steps one after the other on a map of N x M places: what is computed is off by
    ``relative * ||x|| + absolute``, and at most ``gain * ||x||`` in norm where it is exact.

    ``swell``: an upper bound of || |T| || of either transform.
    """

    def __init__(self, height: int, width: int, unit: float) -> None:
        self.relative, self.absolute, self.gain = 0.0, 0.0, 1.0
        self.height, self.width, self.unit = height, width, unit
        self._along_h, self._along_w = height_transform(height), width_transform(width)
        self.swell = max(abs_norm_upper_bound(self._along_h), abs_norm_upper_bound(self._along_w))

    @property
    def term(self) -> RoundingTerm:
        return RoundingTerm(self.relative, self.absolute)

    def step(self, lipschitz: float, relative: float, absolute: float) -> None:
        """An error of ``relative`` times the norm of the computed input, and ``absolute``."""
        self.relative = add_up(mul_up(lipschitz, self.relative), mul_up(relative, add_up(self.gain, self.relative)))
        self.absolute = add_up(mul_up(lipschitz, self.absolute), mul_up(relative, self.absolute), absolute)
        self.gain = mul_up(lipschitz, self.gain)

    def to_frequencies(self, channels: int) -> None:
        self._transform(self._along_w, self.width, channels)
        self._transform(self._along_h, 2 * self.height, channels)

    def from_frequencies(self, channels: int) -> None:
        self._transform(self._along_h, 2 * self.height, channels)
        self._transform(self._along_w, 2 * (self.width // 2 + 1), channels)

    def _transform(self, matrix: Tensor, terms: int, channels: int) -> None:
        """A product with an isometry T or its transpose, of which ``matrix`` is the float64 form.

        It is off by `_ENTRY_ERROR` an entry, and by rounding it to the arithmetic's own format.
        """
        unit, entries = self.unit, 4 * channels * self.height * self.width
        off = mul_up(_ENTRY_ERROR, sqrt_up(float(matrix.numel())))
        stored = mul_up(2.0, unit, sqrt_up(float(max(matrix.shape))))  # ||T||_F <= sqrt(its larger side)
        computed = mul_up(abs_norm_upper_bound(matrix), up(1.0 + 2.0 * unit))
        products = mul_up(gamma_upper_bound(terms + 1, unit), computed)
        self.step(1.0, add_up(products, off, stored), underflow_upper_bound(unit, terms, entries))
