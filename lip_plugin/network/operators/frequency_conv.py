"""A circular convolution given by one low-rank matrix per frequency: block reflections of BRONet.

Letters: N M sides of the padded map, K = M // 2 + 1 kept frequencies of its width, C channels, r rank, B batch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from lip_plugin.bounds import NormBound
from lip_plugin.bounds.reflection import (
    absolute_norms_upper_bound,
    factor_norm_upper_bound,
    reflection_norm_upper_bound,
)
from lip_plugin.bounds.rounding import add_up, mul_up, sqrt_up
from lip_plugin.bounds.verified import spectral_norm_work
from lip_plugin.errors import UnsupportedLayerError
from lip_plugin.network.operators.base import (
    FLOAT32_UNIT,
    Rounding,
    RoundingAt,
    RoundingTerm,
    Windows,
    require_ints,
    require_map,
)
from lip_plugin.network.operators.frequencies import (
    PLAIN_FREQUENCIES,
    RoundingSteps,
    frequency_windows,
    from_frequencies,
    require_matrices,
    to_frequencies,
    transforms,
)
from lip_plugin.network.operators.linear import LinearOperator
from lip_plugin.network.operators.plain_layer import PlainLayer
from lip_plugin.network.operators.rounding import gamma_upper_bound, underflow_upper_bound
from lip_plugin.types import Shape


def reflected(x: Tensor, factor: Tensor) -> Tensor:
    """(B, C, N, M) -> the same shape: x - U U^H x at every frequency. factor (N, K, 2 C, r); differentiable in both.

    U is written as a real matrix (2 C, 2 r) of an upper and a lower half, which spares a copy of the batch.
    """
    above, below = factor.flatten(0, 1).chunk(2, 1)
    upper, lower = torch.cat([above, -below], 2), torch.cat([below, above], 2)
    along = transforms(x)
    real, imaginary = to_frequencies(x, *along)
    t = torch.baddbmm(upper.mT @ real, lower.mT, imaginary)
    real = torch.baddbmm(real, upper, t, alpha=-1)
    imaginary = torch.baddbmm(imaginary, lower, t, alpha=-1)
    return from_frequencies(real, imaginary, *along)


_PLAIN = '''\
def frequency_conv(x, factor, padding, crop):
    """x - U U^H x at every frequency of the padded map, U (2 C, r): real parts above imaginary parts."""
    top, bottom, left, right = padding
    x = F.pad(x, (left, right, top, bottom))
    height, width = x.shape[2:]
    above, below = factor.flatten(0, 1).chunk(2, 1)
    upper, lower = torch.cat([above, -below], 2), torch.cat([below, above], 2)
    along = transforms(x)
    real, imaginary = to_frequencies(x, *along)
    t = torch.baddbmm(upper.mT @ real, lower.mT, imaginary)
    real = torch.baddbmm(real, upper, t, alpha=-1)
    imaginary = torch.baddbmm(imaginary, lower, t, alpha=-1)
    x = from_frequencies(real, imaginary, *along)
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
        require_matrices(self.factor, "factor")
        require_ints(self.padding, "padding", 4, 0)
        require_ints(self.crop, "crop", 4, 0)

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
        """Dot products in any order, one after the other; see `RoundingSteps`."""
        return self._rounding(input_shape, unit)[0]

    def float32_rounding(self, input_shape: Shape) -> Rounding:
        """Partial sums are at most || |A| || times the norm of what a matrix A is applied to."""
        term, largest = self._rounding(input_shape, FLOAT32_UNIT)
        swell = mul_up(2.0, largest, 1.0 + term.relative)
        return lambda x, y, norm: RoundingAt.by_term(term, norm, swell)

    def _rounding(self, input_shape: Shape, unit: float) -> tuple[RoundingTerm, float]:
        """The term, and what any number on the way is at most, relative to the norm of x and but for rounding."""
        channels, height, width = self._map(input_shape)
        rank, factors = self.factor.shape[3], self.factor.flatten(0, 1)
        gain = factor_norm_upper_bound(factors)
        absolute = mul_up(sqrt_up(2.0), absolute_norms_upper_bound(factors))  # of U as a real matrix (2 C, 2 r)
        steps = RoundingSteps(height, width, unit)
        steps.to_frequencies(channels)
        _reflect(steps, gain, absolute, (2 * channels, 2 * rank))
        steps.from_frequencies(channels)
        on_the_way = max(1.0, steps.swell, absolute)
        return steps.term, mul_up(on_the_way, add_up(1.0, gain), add_up(1.0, mul_up(gain, gain)))

    def windows(self, input_shape: Shape) -> tuple[Windows, ...]:
        if len(input_shape) != 3:
            return ()
        top, bottom, left, right = self.padding
        high, wide = input_shape[1] + top + bottom, input_shape[2] + left + right
        return frequency_windows(high, wide)

    def work(self, input_shape: Shape) -> int:
        """Transforms, and products with the factors."""
        transforms = sum(4 * axis.padded for pair in self.windows(input_shape) for axis in pair)
        return 4 * math.prod(input_shape) * transforms + 4 * self.factor.numel()

    def proof_work(self, input_shape: Shape) -> int:
        """A Cholesky factorisation at every frequency."""
        rows, columns, parts, rank = self.factor.shape
        return rows * columns * spectral_norm_work(parts // 2, rank)

    def plain_layer(self, input_shape: Shape) -> PlainLayer:
        dtype = ", dtype=torch.float64" if self.factor.dtype == torch.float64 else ""
        return PlainLayer(
            f"frequency_conv({{x}}, {{self}}, {self.padding}, {self.crop})",
            self.kind,
            f"torch.zeros({', '.join(map(str, self.factor.shape))}{dtype})",
            is_buffer=True,
            helpers=(PLAIN_FREQUENCIES, _PLAIN),
        )

    def describe(self) -> str:
        rows, columns, parts, rank = self.factor.shape
        return f"convolution by frequency, {rows}x{columns} of rank {rank}, {parts // 2} channels"


def _reflect(steps: RoundingSteps, gain: float, absolute: float, size: tuple[int, int]) -> None:
    """t = U^H z, then z - U t in one sum, U as a real matrix of this size. ||U|| <= gain, || |U| || <= absolute."""
    (rows, columns), unit, frequencies = size, steps.unit, steps.height * steps.width
    first = mul_up(gamma_upper_bound(rows + 1, unit), absolute)
    sums = gamma_upper_bound(columns + 2, unit)
    of_t = add_up(gain, first)  # what computed t is at most, relative to z
    relative = add_up(mul_up(gain, first), sums, mul_up(sums, absolute, of_t))
    lost_t = underflow_upper_bound(unit, rows, columns * frequencies)
    lost = underflow_upper_bound(unit, columns, rows * frequencies)
    steps.step(
        max(1.0, add_up(mul_up(gain, gain), -1.0)),
        relative,
        add_up(mul_up(add_up(gain, mul_up(sums, absolute)), lost_t), lost),
    )
