"""Operators that hold two paths of operators from the same input: what they share, and how they are stored."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from torch import Tensor

from lip_plugin.errors import CheckpointError, UnsupportedLayerError
from lip_plugin.network.operators.base import Json, Operator
from lip_plugin.network.operators.entrywise import Entrywise
from lip_plugin.network.operators.plain_layer import PlainLayer, composed
from lip_plugin.network.operators.registry import operator_type
from lip_plugin.types import Shape

if TYPE_CHECKING:
    from typing_extensions import Self

Path = tuple[Operator, ...]


@dataclass(frozen=True, eq=False)
class TwoPaths(Entrywise):
    """Two paths from one input, joined; an empty path is the identity. ``names`` are those of the two fields."""

    names: ClassVar[tuple[str, str]]

    def __post_init__(self) -> None:
        for name, path in self._paths():
            good = isinstance(path, tuple) and all(isinstance(one, Operator) for one in path)  # pyright: ignore[reportUnnecessaryIsInstance]
            if not good or any(one.kind == "head" for one in path):
                raise UnsupportedLayerError(f"{name} of a {self.kind} must be a tuple of operators without a head")

    def _paths(self) -> tuple[tuple[str, Path], ...]:
        return tuple((name, getattr(self, name)) for name in self.names)

    def chains(self) -> tuple[Path, ...]:
        return tuple(path for _, path in self._paths())

    @abstractmethod
    def _joined_expression(self, first: str, second: str) -> str:
        """Python for the operator, of that for its paths."""

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
        declared = [(layer, operator) for layer, operator in layers if layer.declared]
        states = [
            f"{index}.{state}"
            for index, (layer, operator) in enumerate(declared)
            for state in (["0"] if layer.is_buffer else layer.states or operator.tensors())
        ]
        return PlainLayer(
            self._joined_expression(*expressions),
            self.kind if declared else "",
            f"nn.ModuleList(({''.join(f'{_module(layer)}, ' for layer, _ in declared)}))" if declared else "",
            states=tuple(states),
            helpers=tuple(dict.fromkeys(helper for layer, _ in layers for helper in layer.helpers)),
        )

    # -- stored with the operators inside ---------------------------------------------------------

    def tensors(self) -> dict[str, Tensor]:
        """``branch_0_weight``: path, position, and the field of the operator there."""
        return {f"{prefix}{name}": value for prefix, one in self._inside() for name, value in one.tensors().items()}

    def settings(self) -> dict[str, Json]:
        return {name: [{"kind": one.kind, "settings": one.settings()} for one in path] for name, path in self._paths()}

    def with_tensors(self, tensors: Mapping[str, Tensor]) -> Self:
        rebuilt = [one.with_tensors(_under(prefix, tensors)) for prefix, one in self._inside()]
        first = len(self.chains()[0])
        return replace(self, **dict(zip(self.names, (tuple(rebuilt[:first]), tuple(rebuilt[first:])), strict=True)))

    @classmethod
    def from_parts(cls, settings: Mapping[str, Json], tensors: Mapping[str, Tensor]) -> Self:
        if set(settings) != set(cls.names):
            raise CheckpointError(f"operator {cls.kind!r} takes a {' and a '.join(cls.names)}, got {sorted(settings)}")
        used: set[str] = set()
        paths: list[Path] = []
        for name in cls.names:
            path: list[Operator] = []
            for position, record in enumerate(_records(cls.kind, name, settings[name])):
                own = _under(f"{name}_{position}_", tensors)
                used |= {f"{name}_{position}_{field}" for field in own}
                path.append(operator_type(record["kind"]).from_parts(record["settings"], own))
            paths.append(tuple(path))
        if used != set(tensors):
            raise CheckpointError(f"operator {cls.kind!r} has no place for {sorted(set(tensors) - used)}")
        try:
            return cls(*paths)
        except UnsupportedLayerError as error:
            raise CheckpointError(f"operator {cls.kind!r} refuses its paths: {error}") from error

    def _inside(self) -> Iterator[tuple[str, Operator]]:
        """The prefix of its tensors' names, and the operator."""
        for name, path in self._paths():
            yield from ((f"{name}_{position}_", one) for position, one in enumerate(path))


def along(path: Path, x: Tensor) -> Tensor:
    for operator in path:
        x = operator.apply(x)
    return x


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _module(layer: PlainLayer) -> str:
    return f"nn.ParameterList([{layer.declared}])" if layer.is_buffer else layer.declared


def _records(kind: str, name: str, value: Json) -> list[dict[str, Any]]:
    """A path as a card holds it."""
    if not isinstance(value, list):
        raise CheckpointError(f"the {name} of operator {kind!r} is no list of operators")
    for record in value:
        inner, settings = (record.get("kind"), record.get("settings")) if isinstance(record, dict) else (None, None)
        if not isinstance(inner, str) or not isinstance(settings, dict) or len(record) != 2:  # type: ignore[arg-type]
            raise CheckpointError(f"the {name} of operator {kind!r} holds what is no operator with kind and settings")
    return value  # type: ignore[return-value]
