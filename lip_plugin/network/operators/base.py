"""What an operator is: a frozen value that answers a few questions about itself.

A new operator is one subclass: its dataclass fields are its settings and tensors, and the methods below
are all that the rest of the library asks. Letters: B batch, C channels, H W map, D features, K classes.
"""

from __future__ import annotations

import dataclasses
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol, TypeAlias, TypeVar

from torch import Tensor

from lip_plugin.bounds import NormBound
from lip_plugin.errors import CheckpointError, UnsupportedLayerError
from lip_plugin.network.operators.plain_layer import PlainLayer
from lip_plugin.types import Shape

Setting: TypeAlias = "bool | int | float | str | tuple[Setting, ...] | dict[str, Json]"
Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json]"

FLOAT32_UNIT = 2.0**-24
"""Unit roundoff of float32."""

OPERATOR_KINDS: dict[str, type[Operator]] = {}
"""Every operator there is, by kind. A kind that is not here cannot be in a network."""

O_ = TypeVar("O_", bound="Operator")


@dataclass(frozen=True)
class RoundingTerm:
    """||fl(op(x)) - op(x)||_2 <= relative * ||x||_2 + absolute, for one unit roundoff u; both proved upper bounds."""

    relative: float
    absolute: float

    EXACT: ClassVar[RoundingTerm]


RoundingTerm.EXACT = RoundingTerm(0.0, 0.0)


@dataclass(frozen=True)
class RoundingAt:
    """What rounding does to an operator near given inputs x (B, ...), (B,) float64 each where not a number.

    For every p within d of x in L2: ||fl(op(p)) - op(p)||_2 <= error + growth * d, and no number on the way there
    exceeds peak + swell * d in magnitude. All of them proved upper bounds.
    """

    error: Tensor
    growth: float
    peak: Tensor
    swell: float

    @classmethod
    def by_term(cls, term: RoundingTerm, norm: Tensor, swell: float = 1.0) -> RoundingAt:
        """From a bound relative to ||x||, of which ``norm`` (B,) is an upper bound."""
        return cls(term.relative * norm + term.absolute, term.relative, swell * norm, swell)


@dataclass(frozen=True)
class Window:
    """How a layer reads one axis of a map: ``outputs`` windows of ``taps`` entries; ``padded`` counts its padding."""

    padded: int
    taps: int
    outputs: int

    @classmethod
    def along(cls, size: int, *, taps: int, stride: int = 1, padding: int = 0, dilation: int = 1) -> Window:
        """Of an axis of ``size`` entries and ``padding`` more at its two ends together."""
        padded = size + padding
        return cls(padded, taps, max(0, (padded - dilation * (taps - 1) - 1) // stride + 1))


Windows: TypeAlias = "tuple[Window, Window]"
"""Vertical and horizontal."""


def map_windows(
    input_shape: Shape,
    *,
    taps: Sequence[int],
    stride: Sequence[int] = (1, 1),
    padding: Sequence[int] = (0, 0),
    dilation: Sequence[int] = (1, 1),
) -> tuple[Windows, ...]:
    """The windows over one map, vertical and horizontal; () where the shape is no map. ``padding``: both ends."""
    if len(input_shape) != 3:
        return ()
    high, wide = (
        Window.along(
            input_shape[1 + axis], taps=taps[axis], stride=stride[axis], padding=padding[axis], dilation=dilation[axis]
        )
        for axis in (0, 1)
    )
    return ((high, wide),)


def window_entries(channels: int, windows: tuple[Windows, ...]) -> int:
    """Entries of all windows side by side."""
    return sum(channels * math.prod(axis.taps * axis.outputs for axis in pair) for pair in windows)


class NormEstimates(Protocol):
    """What the estimate of an operator's Lipschitz constant is made of: scalars on one device, in one dtype."""

    one: Tensor

    def of(self, operator: Operator, input_shape: Shape) -> Tensor:
        """The norm of a `LinearOperator`'s linear part, from below; differentiable in its tensors."""
        ...

    def constant(self, operator: Operator, input_shape: Shape) -> Tensor:
        """The bound of an operator without tensors, which training does not change."""
        ...


Rounding: TypeAlias = Callable[[Tensor, Tensor, Tensor], RoundingAt]
"""From inputs x (B, ...), what an operator makes of them in float64, and upper bounds (B,) of ||x||."""


@dataclass(frozen=True, eq=False)
class Operator(ABC):
    """One layer of a plain network. Immutable; no batch statistics, no randomness, no state."""

    kind: ClassVar[str]

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        kind = cls.__dict__.get("kind")
        if kind is not None:
            if kind in OPERATOR_KINDS:
                raise TypeError(f"operator kind {kind!r} is taken by {OPERATOR_KINDS[kind].__name__}")
            OPERATOR_KINDS[kind] = cls

    @abstractmethod
    def apply(self, x: Tensor) -> Tensor:
        """(B, *input_shape) -> (B, *output_shape), differentiable in x."""

    @abstractmethod
    def output_shape(self, input_shape: Shape) -> Shape:
        """Shape without batch. Raises UnsupportedLayerError where the input does not fit."""

    @abstractmethod
    def lipschitz_upper_bound(self, input_shape: Shape) -> NormBound:
        """A proved upper bound of the L2 Lipschitz constant on inputs of this shape, from the tensors alone."""

    @abstractmethod
    def rounding_term(self, input_shape: Shape, unit: float) -> RoundingTerm:
        """Upper bound of the rounding error of `apply` in arithmetic with unit roundoff ``unit``."""

    def float32_rounding(self, input_shape: Shape) -> Rounding:
        """What float32 does to `apply` of this very operator, prepared once for inputs of this shape.

        By `rounding_term` where an operator knows nothing better; every number on the way is then taken to be at most
        as large as the norm of its input or output.
        """
        term = self.rounding_term(input_shape, FLOAT32_UNIT)
        return lambda x, y, norm: RoundingAt.by_term(term, norm)

    def lipschitz_estimate(self, input_shape: Shape, norms: NormEstimates) -> Tensor:
        """What `lipschitz_upper_bound` comes to with estimated norms: a scalar for training, never a certificate.

        Differentiable in the tensors. An operator without tensors need not answer. Raises UnsupportedLayerError.
        """
        if self.tensors():
            raise UnsupportedLayerError(
                f"operator {self.kind!r} has no estimate for training; its class must define lipschitz_estimate"
            )
        return norms.constant(self, input_shape)

    @abstractmethod
    def windows(self, input_shape: Shape) -> tuple[Windows, ...]:
        """Of every map that windows are slid over; () where an operator does not, or the shape does not fit.

        What memory and running time grow with: `network.limits` refuses a stored network by it before
        anything of its size exists.
        """

    @abstractmethod
    def work(self, input_shape: Shape) -> int:
        """Products of a forward pass of one image, roughly; what only moves or compares entries counts them."""

    def proof_work(self, input_shape: Shape) -> int:
        """Products of `lipschitz_upper_bound`, roughly, chains apart; none where it follows from a formula."""
        return 0

    def held(self, input_shape: Shape) -> int:
        """Entries that a forward pass of one image holds at once, chains apart."""
        return math.prod(input_shape) + math.prod(self.output_shape(input_shape))

    @abstractmethod
    def plain_layer(self, input_shape: Shape) -> PlainLayer:
        """The same torch calls in the same order as `apply`, without this library: what a foreign board runs.

        Raises UnsupportedLayerError where there is no such form.
        """

    @abstractmethod
    def describe(self) -> str:
        """A few words for people, settings and sizes, for example ``3x3 convolution, 12 to 64 channels``."""

    def chains(self) -> tuple[tuple[Operator, ...], ...]:
        """The operators inside this one, as chains that each start from its input; none in a single operation."""
        return ()

    def tensors(self) -> dict[str, Tensor]:
        """Field name -> tensor; absent optional tensors are left out."""
        return {name: value for name, value in self._fields().items() if isinstance(value, Tensor)}

    def settings(self) -> dict[str, Json]:
        """Field name -> JSON value, for every field that is not a tensor."""
        return {
            name: _to_json(value)
            for name, value in self._fields().items()
            if value is not None and not isinstance(value, Tensor)
        }

    def with_tensors(self: O_, tensors: Mapping[str, Tensor]) -> O_:
        """The same operator over other tensors."""
        return dataclasses.replace(self, **tensors)

    def map_tensors(self: O_, function: Callable[[Tensor], Tensor]) -> O_:
        """The same operator with every tensor passed through a function (another device, another precision)."""
        return self.with_tensors({name: function(value) for name, value in self.tensors().items()})

    def _fields(self) -> dict[str, object]:
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}

    @classmethod
    def from_parts(cls: type[O_], settings: Mapping[str, Json], tensors: Mapping[str, Tensor]) -> O_:
        """Inverse of `settings` and `tensors`; strict about keys. Raises CheckpointError."""
        known = {field.name: field for field in dataclasses.fields(cls)}
        unknown = [name for name in (*settings, *tensors) if name not in known]
        missing = [
            name
            for name, field in known.items()
            if field.default is dataclasses.MISSING and name not in settings and name not in tensors
        ]
        if unknown or missing or set(settings) & set(tensors):
            raise CheckpointError(
                f"operator {cls.kind!r} takes {sorted(known)}; unknown: {unknown}, missing: {missing}"
            )
        arguments = {**{name: _from_json(value) for name, value in settings.items()}, **tensors}
        try:
            return cls(**arguments)
        except (TypeError, AttributeError, OverflowError, UnsupportedLayerError) as error:
            raise CheckpointError(f"operator {cls.kind!r} refuses its settings: {error}") from error


def _to_json(value: object) -> Json:
    if isinstance(value, tuple):
        return [_to_json(item) for item in value]
    if isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"{value!r} is not a setting")


def _from_json(value: Json) -> Setting:
    return tuple(_from_json(item) for item in value) if isinstance(value, list) else value


def require_tensor(value: object, name: str, dimensions: int) -> None:
    """A real floating tensor of this many dimensions, finite entries are checked by the bounds."""
    if not isinstance(value, Tensor) or not value.is_floating_point() or value.dim() != dimensions:
        found = f"{value.dtype} of shape {tuple(value.shape)}" if isinstance(value, Tensor) else repr(value)
        raise UnsupportedLayerError(f"{name} must be a floating tensor with {dimensions} dimensions, got {found}")


def require_ints(value: object, name: str, length: int, minimum: int) -> None:
    """A tuple of ``length`` ints, each at least ``minimum``."""
    good = isinstance(value, tuple) and len(value) == length
    if not good or not all(type(item) is int and item >= minimum for item in value):  # type: ignore[union-attr]
        raise UnsupportedLayerError(f"{name} must be {length} integers of at least {minimum}, got {value!r}")


def require_map(input_shape: Shape, kind: str) -> tuple[int, int, int]:
    """(C, H, W), or an error that names the operator."""
    if len(input_shape) != 3:
        raise UnsupportedLayerError(f"{kind} expects a (C, H, W) map, got shape {input_shape}")
    return input_shape[0], input_shape[1], input_shape[2]
