"""A circular convolution given by one matrix per frequency: orthogonal convolutions whose kernels fill the map.

Letters: N M sides of the map, K = M // 2 + 1 kept frequencies of its width, I and O channels in and out, B batch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from lip_plugin.bounds import NormBound
from lip_plugin.bounds.reflection import absolute_norms_upper_bound, factor_norm_upper_bound
from lip_plugin.bounds.rounding import exact_float64, mul_up, sqrt_up
from lip_plugin.bounds.verified import spectral_norm_upper_bound, spectral_norm_work
from lip_plugin.errors import UnsupportedLayerError
from lip_plugin.network.operators.base import (
    FLOAT32_UNIT,
    Rounding,
    RoundingAt,
    RoundingTerm,
    Windows,
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

_PLAIN = '''\
def frequency_matrix(x, matrix):
    """W x at every frequency of the map, W (2 O, I): real parts above imaginary parts."""
    above, below = matrix.flatten(0, 1).chunk(2, 1)
    along = transforms(x)
    real, imaginary = to_frequencies(x, *along)
    of_real = torch.baddbmm(above @ real, below, imaginary, alpha=-1)
    of_imaginary = torch.baddbmm(below @ real, above, imaginary)
    return from_frequencies(of_real, of_imaginary, *along).contiguous()
'''


@dataclass(frozen=True, eq=False)
class FrequencyMatrix(LinearOperator):
    """y = T^H W T x, T the unitary Fourier transform of the map.

    matrix (N, K, 2 O, I) holds W (O, I) at the frequencies (k, l), l <= M / 2: real parts above imaginary parts. At
    the others it stands for the conjugate of W(-k, -l), which makes y real; where both (k, l) and (-k, -l) are stored
    (l = 0 and l = M / 2) y is the real part of the result.

    Taking real parts lengthens nothing: the norm is at most the largest of the stored W, whatever they are. Every such
    W of a circular convolution is its kernel's transform there: N^2 M^2 products per pair of channels become 2 N M.

        FrequencyMatrix(torch.zeros(8, 5, 2 * 64, 64)).output_shape((64, 8, 8))  # (64, 8, 8)
    """

    kind: ClassVar[str] = "frequency_matrix"

    matrix: Tensor

    def __post_init__(self) -> None:
        require_matrices(self.matrix, "matrix")

    def apply(self, x: Tensor) -> Tensor:
        above, below = self.matrix.flatten(0, 1).chunk(2, 1)
        along = transforms(x)
        real, imaginary = to_frequencies(x, *along)
        of_real = torch.baddbmm(above @ real, below, imaginary, alpha=-1)
        of_imaginary = torch.baddbmm(below @ real, above, imaginary)
        return from_frequencies(of_real, of_imaginary, *along).contiguous()

    def linear_part(self, x: Tensor) -> Tensor:
        return self.apply(x)

    def output_shape(self, input_shape: Shape) -> Shape:
        channels, height, width = require_map(input_shape, self.kind)
        rows, columns, parts, inputs = self.matrix.shape
        if (inputs, rows, columns) != (channels, height, width // 2 + 1):
            raise UnsupportedLayerError(
                f"frequency_matrix has matrices for {inputs} channels and {rows}x{columns} frequencies, "
                f"got shape {input_shape}"
            )
        return parts // 2, height, width

    def lipschitz_upper_bound(self, input_shape: Shape) -> NormBound:
        self.output_shape(input_shape)
        real, imaginary = exact_float64(self.matrix.flatten(0, 1)).chunk(2, dim=1)
        norm = spectral_norm_upper_bound(torch.complex(real, imaginary))
        return NormBound(norm, "verified Cholesky at every frequency")

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
        outputs, height, width = self.output_shape(input_shape)
        terms, matrices = 2 * input_shape[0], self.matrix.flatten(0, 1)
        gain = factor_norm_upper_bound(matrices)
        absolute = mul_up(sqrt_up(2.0), absolute_norms_upper_bound(matrices))  # of W as a real matrix (2 O, 2 I)
        steps = RoundingSteps(height, width, unit)
        steps.to_frequencies(input_shape[0])
        lost = underflow_upper_bound(unit, terms, 2 * outputs * height * width)
        steps.step(gain, mul_up(gamma_upper_bound(terms + 1, unit), absolute), lost)
        steps.from_frequencies(outputs)
        return steps.term, mul_up(max(1.0, steps.swell, absolute), max(1.0, gain))

    def windows(self, input_shape: Shape) -> tuple[Windows, ...]:
        return frequency_windows(*input_shape[1:]) if len(input_shape) == 3 else ()

    def work(self, input_shape: Shape) -> int:
        """Transforms, and products with the matrices."""
        sides, (_, _, parts, inputs) = sum(input_shape[1:]), self.matrix.shape
        transformed = (inputs + parts // 2) * math.prod(input_shape[1:])
        return 8 * transformed * sides + 4 * self.matrix.numel()

    def proof_work(self, input_shape: Shape) -> int:
        """A Cholesky factorisation at every frequency."""
        rows, columns, parts, inputs = self.matrix.shape
        return rows * columns * spectral_norm_work(parts // 2, inputs)

    def plain_layer(self, input_shape: Shape) -> PlainLayer:
        dtype = ", dtype=torch.float64" if self.matrix.dtype == torch.float64 else ""
        return PlainLayer(
            "frequency_matrix({x}, {self})",
            self.kind,
            f"torch.zeros({', '.join(map(str, self.matrix.shape))}{dtype})",
            is_buffer=True,
            helpers=(PLAIN_FREQUENCIES, _PLAIN),
        )

    def describe(self) -> str:
        rows, columns, parts, inputs = self.matrix.shape
        return f"convolution by frequency, {rows}x{columns}, {inputs} to {parts // 2} channels"
