"""The sum of two paths: a residual block as people build them, bounded by the sum of its paths' bounds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from lip_plugin.bounds import NormBound
from lip_plugin.bounds.rounding import add_up
from lip_plugin.errors import UnsupportedLayerError
from lip_plugin.network.operators.base import FLOAT32_UNIT, NormEstimates, Rounding, RoundingAt, RoundingTerm
from lip_plugin.network.operators.chain import (
    chain_estimate,
    chain_output_shape,
    chain_rounding,
    chain_term,
    chain_upper_bound,
    sum_rounding,
    sum_term,
)
from lip_plugin.network.operators.paths import Path, TwoPaths, along
from lip_plugin.types import Shape


@dataclass(frozen=True, eq=False)
class Residual(TwoPaths):
    """y = shortcut(x) + branch(x); an empty path is the identity.

    Lip <= Lip(shortcut) + Lip(branch), each path by the product of its operators: proved, and loose where the paths
    do not stretch the same direction. A branch of a single linear layer is better merged with the identity into one
    (I + K), as `lp.wrap` does: that is the linear residual block of LiResNet.

        Residual(branch=(Conv(w1, padding=(1, 1, 1, 1)), Activation("relu"), Conv(w2, padding=(1, 1, 1, 1))))
    """

    kind: ClassVar[str] = "residual"

    names: ClassVar[tuple[str, str]] = ("branch", "shortcut")

    branch: Path
    shortcut: Path = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.branch:
            raise UnsupportedLayerError("a residual whose branch is empty is twice the identity; use a scale")

    def apply(self, x: Tensor) -> Tensor:
        return along(self.shortcut, x) + along(self.branch, x)

    def output_shape(self, input_shape: Shape) -> Shape:
        branch, shortcut = (chain_output_shape(path, input_shape) for path in self.chains())
        if branch != shortcut:
            raise UnsupportedLayerError(
                f"a residual adds shape {branch} of its branch to {shortcut} of its shortcut; give equal ones"
            )
        return branch

    def lipschitz_upper_bound(self, input_shape: Shape) -> NormBound:
        branch, shortcut = (chain_upper_bound(path, input_shape) for path in self.chains())
        return NormBound(add_up(shortcut, branch), f"shortcut {shortcut:.4g} + branch {branch:.4g}")

    def lipschitz_estimate(self, input_shape: Shape, norms: NormEstimates) -> Tensor:
        branch, shortcut = (chain_estimate(path, input_shape, norms) for path in self.chains())
        return shortcut + branch

    def rounding_term(self, input_shape: Shape, unit: float) -> RoundingTerm:
        return sum_term([chain_term(path, input_shape, unit) for path in self.chains()], unit)

    def float32_rounding(self, input_shape: Shape) -> Rounding:
        paths = [chain_rounding(path, input_shape) for path in self.chains()]

        def rounding(x: Tensor, y: Tensor, norm: Tensor) -> RoundingAt:
            return sum_rounding([path(x, norm) for path in paths], FLOAT32_UNIT)

        return rounding

    def _joined_expression(self, first: str, second: str) -> str:
        return f"{second} + {first}"

    def describe(self) -> str:
        branch, shortcut = (", ".join(one.describe() for one in path) or "identity" for path in self.chains())
        return f"sum of two paths ({branch}) and ({shortcut})"
