"""The sum of two paths: a residual block as people build them, bounded by the sum of its paths' bounds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from lip_plugin.bounds import NormBound
from lip_plugin.bounds.rounding import add_up
from lip_plugin.errors import CheckpointError, UnsupportedLayerError
from lip_plugin.network.operators.base import FLOAT32_UNIT, Json, Operator, Rounding, RoundingAt, RoundingTerm
from lip_plugin.network.operators.chain import (
    chain_output_shape,
    chain_rounding,
    chain_term,
    chain_upper_bound,
    sum_rounding,
    sum_term,
)
from lip_plugin.network.operators.entrywise import Entrywise
from lip_plugin.network.operators.plain_layer import PlainLayer, composed
from lip_plugin.network.operators.registry import operator_type
from lip_plugin.types import Shape

Path = tuple[Operator, ...]


@dataclass(frozen=True, eq=False)
class Residual(Entrywise):
    """y = shortcut(x) + branch(x); an empty path is the identity.

    Lip <= Lip(shortcut) + Lip(branch), each path by the product of its operators: proved, and loose where the paths
    do not stretch the same direction. A branch of a single linear layer is better merged with the identity into one
    (I + K), as `lp.wrap` does: that is the linear residual block of LiResNet.

        Residual(branch=(Conv(w1, padding=(1, 1, 1, 1)), Activation("relu"), Conv(w2, padding=(1, 1, 1, 1))))
    """

    kind: ClassVar[str] = "residual"

    branch: Path
    shortcut: Path = ()

    def __post_init__(self) -> None:
        for name, path in self._paths():
            good = isinstance(path, tuple) and all(isinstance(one, Operator) for one in path)  # pyright: ignore[reportUnnecessaryIsInstance]
            if not good or any(one.kind == "head" for one in path):
                raise UnsupportedLayerError(f"{name} of a residual must be a tuple of operators without a head")
        if not self.branch:
            raise UnsupportedLayerError("a residual whose branch is empty is twice the identity; use a scale")

    def _paths(self) -> tuple[tuple[str, Path], ...]:
        return ("branch", self.branch), ("shortcut", self.shortcut)

    def chains(self) -> tuple[Path, ...]:
        return self.branch, self.shortcut

    def apply(self, x: Tensor) -> Tensor:
        return _along(self.shortcut, x) + _along(self.branch, x)

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

    def rounding_term(self, input_shape: Shape, unit: float) -> RoundingTerm:
        return sum_term([chain_term(path, input_shape, unit) for path in self.chains()], unit)

    def float32_rounding(self, input_shape: Shape) -> Rounding:
        paths = [chain_rounding(path, input_shape) for path in self.chains()]

        def rounding(x: Tensor, y: Tensor, norm: Tensor) -> RoundingAt:
            return sum_rounding([path(x, norm) for path in paths], FLOAT32_UNIT)

        return rounding

    def plain_layer(self, input_shape: Shape) -> PlainLayer:
        """Modules of both paths in one list; buffers as parameters, which lists hold too."""
        layers: list[tuple[PlainLayer, Operator]] = []
        expressions: list[str] = []
        for path in self.chains():
            expression, shape = "{x}", input_shape
            for operator in path:
                layer = operator.plain_layer(shape)
                own = f"{{self}}[{sum(bool(known.declared) for known, _ in layers)}]{'[0]' * layer.is_buffer}"
                expression = composed(layer, expression, own)
                layers.append((layer, operator))
                shape = operator.output_shape(shape)
            expressions.append(expression)
        branch, shortcut = expressions
        declared = [(layer, operator) for layer, operator in layers if layer.declared]
        states = [
            f"{index}.{state}"
            for index, (layer, operator) in enumerate(declared)
            for state in (["0"] if layer.is_buffer else layer.states or operator.tensors())
        ]
        return PlainLayer(
            f"{shortcut} + {branch}",
            self.kind if declared else "",
            f"nn.ModuleList(({''.join(f'{_module(layer)}, ' for layer, _ in declared)}))" if declared else "",
            states=tuple(states),
            helpers=tuple(dict.fromkeys(helper for layer, _ in layers for helper in layer.helpers)),
        )

    def describe(self) -> str:
        branch, shortcut = (", ".join(one.describe() for one in path) or "identity" for path in self.chains())
        return f"sum of two paths ({branch}) and ({shortcut})"

    # -- stored with the operators inside ---------------------------------------------------------

    def tensors(self) -> dict[str, Tensor]:
        """``branch_0_weight``: path, position, and the field of the operator there."""
        return {f"{prefix}{name}": value for prefix, one in self._inside() for name, value in one.tensors().items()}

    def settings(self) -> dict[str, Json]:
        return {name: [{"kind": one.kind, "settings": one.settings()} for one in path] for name, path in self._paths()}

    def with_tensors(self, tensors: Mapping[str, Tensor]) -> Residual:
        rebuilt = [one.with_tensors(_under(prefix, tensors)) for prefix, one in self._inside()]
        return Residual(tuple(rebuilt[: len(self.branch)]), tuple(rebuilt[len(self.branch) :]))

    @classmethod
    def from_parts(cls, settings: Mapping[str, Json], tensors: Mapping[str, Tensor]) -> Residual:
        if set(settings) != {"branch", "shortcut"}:
            raise CheckpointError(f"operator 'residual' takes a branch and a shortcut, got {sorted(settings)}")
        used: set[str] = set()
        paths: list[Path] = []
        for name in ("branch", "shortcut"):
            path: list[Operator] = []
            for position, record in enumerate(_records(name, settings[name])):
                own = _under(f"{name}_{position}_", tensors)
                used |= {f"{name}_{position}_{field}" for field in own}
                path.append(operator_type(record["kind"]).from_parts(record["settings"], own))
            paths.append(tuple(path))
        if used != set(tensors):
            raise CheckpointError(f"operator 'residual' has no place for {sorted(set(tensors) - used)}")
        try:
            return cls(*paths)
        except UnsupportedLayerError as error:
            raise CheckpointError(f"operator 'residual' refuses its paths: {error}") from error

    def _inside(self) -> Iterator[tuple[str, Operator]]:
        """The prefix of its tensors' names, and the operator."""
        for name, path in self._paths():
            yield from ((f"{name}_{position}_", one) for position, one in enumerate(path))


def _along(path: Path, x: Tensor) -> Tensor:
    for operator in path:
        x = operator.apply(x)
    return x


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _module(layer: PlainLayer) -> str:
    return f"nn.ParameterList([{layer.declared}])" if layer.is_buffer else layer.declared


def _records(name: str, value: Json) -> list[dict[str, Any]]:
    """A path as a card holds it."""
    if not isinstance(value, list):
        raise CheckpointError(f"the {name} of operator 'residual' is no list of operators")
    for record in value:
        kind, settings = (record.get("kind"), record.get("settings")) if isinstance(record, dict) else (None, None)
        if not isinstance(kind, str) or not isinstance(settings, dict) or len(record) != 2:  # type: ignore[arg-type]
            raise CheckpointError(f"the {name} of operator 'residual' holds what is no operator with kind and settings")
    return value  # type: ignore[return-value]
