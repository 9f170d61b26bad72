"""A layer of a network, and what every kind of operator answers. The kinds are in `kinds`, one file per family."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from .arithmetic import Array, Bound, Shape
from .reading import integers

KINDS: dict[str, type[Layer]] = {}
"""By the name that a card has for it. What is not here is refused."""


def spread(channels: Array, shape: Shape) -> Array:
    """A number a channel, for every entry of a shape."""
    return np.broadcast_to(channels.reshape(-1, *[1] * (len(shape) - 1)), shape)


def channels_of(values: Array) -> Array | None:
    """The other way round, where the entries of every channel are alike."""
    flat = values.reshape(len(values), -1)
    return flat[:, 0] if (flat == flat[:, :1]).all() else None


@dataclass(frozen=True, eq=False)
class Layer:
    """One operator on inputs of one shape (channels first). A subclass with a ``kind`` is one that cards may hold."""

    settings: dict[str, Any]
    tensors: dict[str, Array]  # float64: every stored number exactly
    shape: Shape  # of its input, without the images' axis

    kind: ClassVar[str] = ""
    needs: ClassVar[tuple[str, ...]] = ()
    """Its tensors."""
    may_have: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(cls, kind: str = "") -> None:
        if kind:
            cls.kind, KINDS[kind] = kind, cls

    def __post_init__(self) -> None:
        names = set(self.tensors)
        if not set(self.needs) <= names <= {*self.needs, *self.may_have}:
            raise ValueError(f"card.json: {self.kind} with tensors {sorted(names)}")
        self.check()

    def check(self) -> None:
        """Raise ValueError where settings or tensors are none of this kind's."""

    def norm(self) -> Bound:
        """An upper bound of the Lipschitz constant in the Euclidean norm, and how it was found."""
        raise NotImplementedError

    def apply(self, v: Array) -> tuple[Array, Array]:
        """The layer, and per image a bound of the rounding error that this layer adds (Euclidean norm)."""
        raise NotImplementedError

    def carry(self, values: Array) -> Array | None:
        """A scale of the entries of its input as one of its output's, if it may as well come after; else None."""
        return None

    @cached_property
    def bound(self) -> Bound:
        """`norm`, proved once."""
        return self.norm()

    @cached_property
    def out(self) -> Shape:
        """The shape of its output. What does not fit, NumPy refuses."""
        return self.apply(np.zeros((1, *self.shape)))[0].shape[1:]

    def with_tensors(self, **tensors: Array) -> Layer:
        return replace(self, tensors={**self.tensors, **tensors})

    def integers(self, name: str, count: int | None = 2, least: int = 1) -> list[int]:
        value = self.settings.get(name)
        return integers(value if isinstance(value, list) else [value], f"{self.kind}: {name}", count, least)

    def number(self, name: str) -> float:
        value: Any = self.settings.get(name)
        if type(value) not in (int, float) or not math.isfinite(value):
            raise ValueError(f"{self.kind}: {name} is {value!r}, expected a finite number")
        return float(value)


class Linear(Layer):
    """weight x + bias, into whose weight scales beside it are taken."""

    needs = ("weight",)
    may_have = ("bias",)

    @property
    def takes_scales(self) -> bool:
        """Every output reads an input through one entry of the weight at most."""
        return True

    def with_rows(self, values: Array) -> Layer | None:
        """Every output channel times a number."""
        return self.with_factor(values.reshape(-1, *[1] * (self.tensors["weight"].ndim - 1)))

    def with_columns(self, values: Array) -> Layer | None:
        """Every input channel times a number."""
        raise NotImplementedError

    def with_factor(self, factor: Array) -> Layer | None:
        """The weight times another, rounded once; None where a product underflows, and is off by more than that."""
        weight = self.tensors["weight"] * factor
        exact = np.abs(weight) >= np.finfo(np.float64).tiny
        exact |= (self.tensors["weight"] == 0) | (np.broadcast_to(factor, weight.shape) == 0)
        return self.with_tensors(weight=weight) if exact.all() and np.isfinite(weight).all() else None

    def absolute_norm(self) -> float:
        """Of the layer whose entries are the absolute values, but for roundings: root of row sum times column sum."""
        raise NotImplementedError


def read_layer(record: dict[str, Any], stored: dict[str, Array], shape: Shape) -> Layer:
    """From a record of a card, ``stored`` holding the tensors by the names that the record gives them."""
    if record["kind"] not in KINDS:
        raise ValueError(f"operator kind {record['kind']!r} is not supported by this checker")
    tensors = {name: stored[place].astype(np.float64) for name, place in record["tensors"].items()}
    return KINDS[record["kind"]](record["settings"], tensors, shape)


def read_chain(records: list[dict[str, Any]], stored: dict[str, Array], shape: Shape) -> list[Layer]:
    """Layers one after the other."""
    layers = list[Layer]()
    for record in records:
        layers.append(read_layer(record, stored, shape))
        shape = layers[-1].out
    return layers
