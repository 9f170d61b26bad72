"""A circular convolution given by one low-rank matrix per frequency: block reflections of BRONet.

The transform is no library FFT, whose rounding would have to be assumed, but a product with one matrix per axis. Maps
are small, so that it costs little beside the products over channels, and its rounding is that of plain dot products.

Letters: N M sides of the padded map, K = M // 2 + 1 kept frequencies of its width, C channels, r rank, B batch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from lip_plugin.bounds import NormBound, abs_norm_upper_bound
from lip_plugin.bounds.reflection import (
    absolute_norms_upper_bound,
    factor_norm_upper_bound,
    reflection_norm_upper_bound,
)
from lip_plugin.bounds.rounding import add_up, mul_up, sqrt_up, up
from lip_plugin.errors import UnsupportedLayerError
from lip_plugin.network.operators.base import (
    FLOAT32_UNIT,
    Rounding,
    RoundingAt,
    RoundingTerm,
    Window,
    Windows,
    require_ints,
    require_map,
    require_tensor,
)
from lip_plugin.network.operators.linear import LinearOperator
from lip_plugin.network.operators.plain_layer import PlainLayer
from lip_plugin.network.operators.rounding import gamma_upper_bound, underflow_upper_bound
from lip_plugin.types import Shape

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


def reflected(x: Tensor, factor: Tensor) -> Tensor:
    """(B, C, N, M) -> the same shape: x - U U^H x at every frequency. factor (N, K, 2 C, r); differentiable in both.

    Real and imaginary parts go apart, and U is written as a real matrix (2 C, 2 r) of an upper and a lower half, so
    that nothing as large as a batch of maps is copied between the first permutation and the last.
    """
    batch, channels, height, width = x.shape
    along_h, along_w = height_transform(height).to(x), width_transform(width).to(x)
    above, below = factor.flatten(0, 1).split(channels, 1)
    upper, lower = torch.cat([above, -below], 2), torch.cat([below, above], 2)
    from_real, from_imaginary = along_h.chunk(2, 1)
    to_real, to_imaginary = along_h.chunk(2)
    even, odd = along_w.chunk(2)
    z = x.permute(2, 3, 1, 0).reshape(height, width, channels * batch)
    z = torch.addmm(from_real @ (even @ z).flatten(1), from_imaginary, (odd @ z).flatten(1))
    real, imaginary = z.view(2, len(upper), channels, batch)
    t = torch.baddbmm(upper.mT @ real, lower.mT, imaginary)
    real = torch.baddbmm(real, upper, t, alpha=-1).view(height, -1)
    imaginary = torch.baddbmm(imaginary, lower, t, alpha=-1).view(height, -1)
    z = torch.addmm(to_real.mT @ real, to_imaginary.mT, imaginary)
    real, imaginary = z.view(2, height, len(even), channels * batch)
    return (even.mT @ real + odd.mT @ imaginary).view(height, width, channels, batch).permute(3, 2, 0, 1)


_PLAIN = '''\
def frequency_conv(x, factor, padding, crop):
    """x - U U^H x at every frequency of the padded map, U (2 C, r): real parts above imaginary parts."""

    def waves(size):
        index = torch.arange(size, device="cpu")
        turns = torch.outer(index, index) % size
        angle = torch.where(2 * turns > size, turns - size, turns).double() * (2.0 * torch.pi) / size
        return angle.cos(), angle.sin()

    top, bottom, left, right = padding
    x = F.pad(x, (left, right, top, bottom))
    batch, channels, height, width = x.shape
    cosine, sine = (part * (1.0 / height) ** 0.5 for part in waves(height))
    along_h = torch.cat([torch.cat([cosine, sine], 1), torch.cat([-sine, cosine], 1)]).to(x)
    cosine, sine = (part[: width // 2 + 1] * (2.0 / width) ** 0.5 for part in waves(width))
    alone = [0, width // 2] if width % 2 == 0 else [0]
    cosine[alone] *= 0.5**0.5
    sine[alone] = 0.0
    along_w = torch.cat([cosine, -sine]).to(x)
    above, below = factor.flatten(0, 1).split(channels, 1)
    upper, lower = torch.cat([above, -below], 2), torch.cat([below, above], 2)
    from_real, from_imaginary = along_h.chunk(2, 1)
    to_real, to_imaginary = along_h.chunk(2)
    even, odd = along_w.chunk(2)
    z = x.permute(2, 3, 1, 0).reshape(height, width, channels * batch)
    z = torch.addmm(from_real @ (even @ z).flatten(1), from_imaginary, (odd @ z).flatten(1))
    real, imaginary = z.view(2, len(upper), channels, batch)
    t = torch.baddbmm(upper.mT @ real, lower.mT, imaginary)
    real = torch.baddbmm(real, upper, t, alpha=-1).view(height, -1)
    imaginary = torch.baddbmm(imaginary, lower, t, alpha=-1).view(height, -1)
    z = torch.addmm(to_real.mT @ real, to_imaginary.mT, imaginary)
    real, imaginary = z.view(2, height, len(even), channels * batch)
    x = (even.mT @ real + odd.mT @ imaginary).view(height, width, channels, batch).permute(3, 2, 0, 1)
    top, bottom, left, right = crop
    return x[:, :, top : height - bottom, left : width - right].contiguous()
'''


@dataclass(frozen=True, eq=False)
class FrequencyConv(LinearOperator):
    """y = crop(T^H (I - U U^H) T pad(x)), T the unitary Fourier transform of the zero-padded map.

    factor (N, K, 2 C, r) holds U (C, r) at the frequencies (k, l), l <= M / 2: real parts above imaginary parts. At
    the others it stands for the conjugate of U(-k, -l), which makes y real; where both (k, l) and (-k, -l) are stored
    (l = 0 and l = M / 2) y is the real part of the result. ``padding`` and ``crop`` are (top, bottom, left, right).

    Padding, cropping and taking real parts shorten nothing and lengthen nothing: the norm is at most the largest of
    I - U U^H (`bounds.reflection`), whatever the factors are. Source: Lai, Huang, Kung, Chen, Enhancing certified
    robustness via block reflector orthogonal layers and logit annealing loss, ICML 2025 (arXiv 2505.15174).
    """

    kind: ClassVar[str] = "frequency_conv"

    factor: Tensor
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    crop: tuple[int, int, int, int] = (0, 0, 0, 0)

    def __post_init__(self) -> None:
        require_tensor(self.factor, "factor", 4)
        require_ints(self.padding, "padding", 4, 0)
        require_ints(self.crop, "crop", 4, 0)
        if 0 in self.factor.shape or self.factor.shape[2] % 2:
            raise UnsupportedLayerError(
                f"factor {tuple(self.factor.shape)} must hold real and imaginary parts of C channels, (N, K, 2 C, r)"
            )

    def apply(self, x: Tensor) -> Tensor:
        padded = self._padded(x)
        top, bottom, left, right = self.crop
        height, width = padded.shape[2:]
        out = reflected(padded, self.factor)
        return out[:, :, top : height - bottom, left : width - right].contiguous()

    def linear_part(self, x: Tensor) -> Tensor:
        return self.apply(x)

    def _padded(self, x: Tensor) -> Tensor:
        top, bottom, left, right = self.padding
        return F.pad(x, (left, right, top, bottom))

    def _map(self, input_shape: Shape) -> tuple[int, int, int]:
        """(C, N, M) after padding. Raises UnsupportedLayerError where the factors are of another map."""
        channels, height, width = require_map(input_shape, self.kind)
        top, bottom, left, right = self.padding
        padded = channels, height + top + bottom, width + left + right
        rows, columns, parts, _ = self.factor.shape
        if (parts, rows, columns) != (2 * channels, padded[1], padded[2] // 2 + 1):
            raise UnsupportedLayerError(
                f"frequency_conv has factors for {parts // 2} channels and {rows}x{columns} frequencies, "
                f"got shape {input_shape}, padded {padded}"
            )
        return padded

    def output_shape(self, input_shape: Shape) -> Shape:
        channels, height, width = self._map(input_shape)
        top, bottom, left, right = self.crop
        out = channels, height - top - bottom, width - left - right
        if min(out) < 1:
            raise UnsupportedLayerError(f"frequency_conv crops {self.crop} and leaves nothing of shape {input_shape}")
        return out

    def lipschitz_upper_bound(self, input_shape: Shape) -> NormBound:
        self._map(input_shape)
        return reflection_norm_upper_bound(self.factor.flatten(0, 1))

    def rounding_term(self, input_shape: Shape, unit: float) -> RoundingTerm:
        """Dot products in any order, one after the other; see `_Error`."""
        return self._rounding(input_shape, unit)[0]

    def float32_rounding(self, input_shape: Shape) -> Rounding:
        """Partial sums are at most || |A| || times the norm of what a matrix A is applied to."""
        term, largest = self._rounding(input_shape, FLOAT32_UNIT)
        swell = mul_up(2.0, largest, 1.0 + term.relative)
        return lambda x, y, norm: RoundingAt.by_term(term, norm, swell)

    def _rounding(self, input_shape: Shape, unit: float) -> tuple[RoundingTerm, float]:
        """The term, and what any number on the way is at most, relative to the norm of x and but for rounding."""
        channels, height, width = self._map(input_shape)
        rank, entries = self.factor.shape[3], 4 * channels * height * width
        factors = self.factor.flatten(0, 1)
        gain = factor_norm_upper_bound(factors)
        absolute = mul_up(sqrt_up(2.0), absolute_norms_upper_bound(factors))  # of U as a real matrix (2 C, 2 r)
        wide, high = width_transform(width), height_transform(height)
        error = _Error()
        error.transform(wide, width, entries, unit)
        error.transform(high, 2 * height, entries, unit)
        error.reflect(gain, absolute, (2 * channels, 2 * rank), height * width, unit)
        error.transform(high, 2 * height, entries, unit)
        error.transform(wide, 2 * (width // 2 + 1), entries, unit)
        on_the_way = max(1.0, abs_norm_upper_bound(wide), abs_norm_upper_bound(high), absolute)
        return error.term, mul_up(on_the_way, add_up(1.0, gain), add_up(1.0, mul_up(gain, gain)))

    def windows(self, input_shape: Shape) -> tuple[Windows, ...]:
        """Every frequency of an axis reads every place on it."""
        if len(input_shape) != 3:
            return ()
        top, bottom, left, right = self.padding
        high, wide = input_shape[1] + top + bottom, input_shape[2] + left + right
        return ((Window(high, high, high), Window(wide, wide, wide)),)

    def work(self, input_shape: Shape) -> int:
        """Transforms, products with the factors, and the proof: a Cholesky factorisation at every frequency."""
        transforms = sum(4 * axis.padded for pair in self.windows(input_shape) for axis in pair)
        return 4 * math.prod(input_shape) * transforms + self.factor.numel() * (self.factor.shape[3] + 4)

    def plain_layer(self, input_shape: Shape) -> PlainLayer:
        dtype = ", dtype=torch.float64" if self.factor.dtype == torch.float64 else ""
        return PlainLayer(
            f"frequency_conv({{x}}, {{self}}, {self.padding}, {self.crop})",
            self.kind,
            f"torch.zeros({', '.join(map(str, self.factor.shape))}{dtype})",
            is_buffer=True,
            helpers=(_PLAIN,),
        )

    def describe(self) -> str:
        rows, columns, parts, rank = self.factor.shape
        return f"convolution by frequency, {rows}x{columns} of rank {rank}, {parts // 2} channels"


class _Error:
    """Of linear steps one after the other: what is computed is off by ``relative * ||x|| + absolute``, and at most
    ``gain * ||x||`` in norm where it is exact.
    """

    def __init__(self) -> None:
        self.relative, self.absolute, self.gain = 0.0, 0.0, 1.0

    @property
    def term(self) -> RoundingTerm:
        return RoundingTerm(self.relative, self.absolute)

    def _step(self, lipschitz: float, relative: float, absolute: float) -> None:
        """An error of ``relative`` times the norm of the computed input, and ``absolute``."""
        self.relative = add_up(mul_up(lipschitz, self.relative), mul_up(relative, add_up(self.gain, self.relative)))
        self.absolute = add_up(mul_up(lipschitz, self.absolute), mul_up(relative, self.absolute), absolute)
        self.gain = mul_up(lipschitz, self.gain)

    def transform(self, matrix: Tensor, terms: int, entries: int, unit: float) -> None:
        """A product with an isometry T or its transpose, of which ``matrix`` is the float64 form.

        It is off by `_ENTRY_ERROR` an entry, and by rounding it to the arithmetic's own format.
        """
        off = mul_up(_ENTRY_ERROR, sqrt_up(float(matrix.numel())))
        stored = mul_up(2.0, unit, sqrt_up(float(max(matrix.shape))))  # ||T||_F <= sqrt(its larger side)
        computed = mul_up(abs_norm_upper_bound(matrix), up(1.0 + 2.0 * unit))
        products = mul_up(gamma_upper_bound(terms + 1, unit), computed)
        self._step(1.0, add_up(products, off, stored), underflow_upper_bound(unit, terms, entries))

    def reflect(self, gain: float, absolute: float, size: tuple[int, int], frequencies: int, unit: float) -> None:
        """t = U^H z, then z - U t in one sum, U as a real matrix of this size. ||U|| <= gain, || |U| || <= absolute."""
        rows, columns = size
        first = mul_up(gamma_upper_bound(rows + 1, unit), absolute)
        sums = gamma_upper_bound(columns + 2, unit)
        of_t = add_up(gain, first)  # what computed t is at most, relative to z
        relative = add_up(mul_up(gain, first), sums, mul_up(sums, absolute, of_t))
        lost_t = underflow_upper_bound(unit, rows, columns * frequencies)
        lost = underflow_upper_bound(unit, columns, rows * frequencies)
        self._step(
            max(1.0, add_up(mul_up(gain, gain), -1.0)),
            relative,
            add_up(mul_up(add_up(gain, mul_up(sums, absolute)), lost_t), lost),
        )
