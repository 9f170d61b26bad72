"""The outputs of two paths side by side, as in DenseNet and Inception: bounded by the root of the sum of squares."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from lip_plugin.bounds import NormBound
from lip_plugin.bounds.rounding import add_up, mul_up, sqrt_up
from lip_plugin.errors import UnsupportedLayerError
from lip_plugin.network.operators.base import NormEstimates, Rounding, RoundingAt, RoundingTerm
from lip_plugin.network.operators.chain import (
    chain_estimate,
    chain_output_shape,
    chain_rounding,
    chain_term,
    chain_upper_bound,
    sum_rounding,
    sum_term,
)
from lip_plugin.network.operators.gather import Gather
from lip_plugin.network.operators.paths import Path, TwoPaths, along
from lip_plugin.types import Shape


@dataclass(frozen=True, eq=False)
class Concat(TwoPaths):
    """The channels of first(x), then those of second(x); an empty path is the identity.

    ||(a, b)||^2 = ||a||^2 + ||b||^2, so that Lip <= (Lip(first)^2 + Lip(second)^2)^(1/2). Paths that start by taking
    different channels split x into u and v with ||u||^2 + ||v||^2 <= ||x||^2, and Lip is at most the larger of theirs.
    Nothing is added, so that its rounding is that of its paths, at most their sum.
    """

    kind: ClassVar[str] = "concat"
    names: ClassVar[tuple[str, str]] = ("first", "second")

    first: Path
    second: Path = ()

    def apply(self, x: Tensor) -> Tensor:
        return torch.cat([along(self.first, x), along(self.second, x)], 1)

    def output_shape(self, input_shape: Shape) -> Shape:
        first, second = (chain_output_shape(path, input_shape) for path in self.chains())
        if not first or first[1:] != second[1:] or len(first) != len(second):
            raise UnsupportedLayerError(f"concat joins shapes {first} and {second}; all but the channels must be equal")
        return (first[0] + second[0], *first[1:])

    def lipschitz_upper_bound(self, input_shape: Shape) -> NormBound:
        first, second = (chain_upper_bound(path, input_shape) for path in self.chains())
        largest = max(first, second)
        if largest == 0.0:
            return NormBound(0.0, "both paths are constant")
        if self._split():
            return NormBound(largest, f"the larger of {first:.4g} and {second:.4g}, of different channels")
        # The smaller one over the larger, so that no square overflows; add_up and mul_up round upward.
        ratio = add_up(min(first, second) / largest * (1.0 + 2.0**-50), 2.0**-1000)
        value = mul_up(largest, sqrt_up(add_up(1.0, mul_up(ratio, ratio))))
        return NormBound(value, f"root of {first:.4g}^2 + {second:.4g}^2")

    def lipschitz_estimate(self, input_shape: Shape, norms: NormEstimates) -> Tensor:
        first, second = (chain_estimate(path, input_shape, norms) for path in self.chains())
        return torch.maximum(first, second) if self._split() else torch.stack([first, second]).norm()

    def _split(self) -> bool:
        """Whether no channel is read by both paths."""
        starts = [path[0] for path in self.chains() if path]
        read = [set(start.channels) for start in starts if isinstance(start, Gather)]
        return len(read) == 2 and not read[0] & read[1]

    def rounding_term(self, input_shape: Shape, unit: float) -> RoundingTerm:
        return sum_term([chain_term(path, input_shape, unit) for path in self.chains()], 0.0)

    def float32_rounding(self, input_shape: Shape) -> Rounding:
        paths = [chain_rounding(path, input_shape) for path in self.chains()]

        def rounding(x: Tensor, y: Tensor, norm: Tensor) -> RoundingAt:
            return sum_rounding([path(x, norm) for path in paths], 0.0)

        return rounding

    def _joined_expression(self, first: str, second: str) -> str:
        return f"torch.cat([{first}, {second}], 1)"

    def describe(self) -> str:
        first, second = (", ".join(one.describe() for one in path) or "identity" for path in self.chains())
        return f"channels of two paths ({first}) and ({second})"
