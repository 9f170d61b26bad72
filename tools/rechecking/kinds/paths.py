"""Two paths from one input, added or side by side. A path is a chain of layers, or nothing: the identity."""

from __future__ import annotations

import math
from functools import cached_property
from typing import ClassVar

import numpy as np

from ..arithmetic import UP, Array, Bound, Shape, U, lengths
from ..chain import follow, product
from ..layer import Layer, read_chain
from .moves import Gather


class TwoPaths(Layer):
    """The tensors of the layer at a position of a path are there by names that begin with path_position_."""

    names: ClassVar[tuple[str, str]]

    def __post_init__(self) -> None:  # its tensors are those of the layers inside
        inside = [layer for path in self.paths for layer in path]
        if sum(len(layer.tensors) for layer in inside) != len(self.tensors) or not inside:
            raise ValueError(f"card.json: {self.kind} with {len(inside)} layers and tensors {sorted(self.tensors)}")
        if any(layer.kind == "head" for layer in inside):
            raise ValueError(f"card.json: {self.kind} with a head inside")
        self.check()

    @cached_property
    def paths(self) -> list[list[Layer]]:
        found = list[list[Layer]]()
        for path in self.names:
            records = [
                {**record, "tensors": self.names_under(f"{path}_{position}_")}
                for position, record in enumerate(self.settings[path])
            ]
            found.append(read_chain(records, self.tensors, self.shape))
        return found

    def names_under(self, prefix: str) -> dict[str, str]:
        return {name.removeprefix(prefix): name for name in self.tensors if name.startswith(prefix)}

    def ends(self) -> list[Shape]:
        return [path[-1].out if path else self.shape for path in self.paths]

    def bounds(self) -> list[float]:
        return [product(layer.bound[0] for layer in path) for path in self.paths]

    def along(self, v: Array) -> tuple[list[Array], Array]:
        """What both paths make of v, and how far off they are together."""
        both = [follow(path, [layer.bound[0] for layer in path], v) for path in self.paths]
        return [y for y, _ in both], sum((off for _, off in both), np.zeros(len(v)))


class Residual(TwoPaths, kind="residual"):
    """The sum: of the bounds, too."""

    names = ("branch", "shortcut")

    def check(self) -> None:
        first, second = self.ends()
        if first != second:
            raise ValueError(f"card.json: residual adds {first} to {second}")

    @cached_property
    def out(self) -> Shape:
        return self.ends()[0]

    def norm(self) -> Bound:
        branch, shortcut = self.bounds()
        return math.nextafter(branch + shortcut, math.inf), f"shortcut {shortcut:.4g} + branch {branch:.4g}"

    def apply(self, v: Array) -> tuple[Array, Array]:
        (a, b), off = self.along(v)
        y = a + b
        return y, UP * (off + 2 * U * lengths(y))


class Concat(TwoPaths, kind="concat"):
    """The channels of one, then those of the other: ||(a, b)||^2 = ||a||^2 + ||b||^2.

    Paths that start with different channels see parts u and v of the input, ||u||^2 + ||v||^2 <= ||x||^2: together they
    stretch it by no more than the larger of both.
    """

    names = ("first", "second")

    def check(self) -> None:
        first, second = self.ends()
        if first[1:] != second[1:]:
            raise ValueError(f"card.json: concat joins {first} and {second}")

    @cached_property
    def out(self) -> Shape:
        first, second = self.ends()
        return (first[0] + second[0], *first[1:])

    def norm(self) -> Bound:
        bounds, seen = self.bounds(), [path[0].settings["channels"] for path in self.paths if starts_with_gather(path)]
        if len(seen) == 2 and not set(seen[0]) & set(seen[1]):
            return max(bounds), f"the larger of {bounds[0]:.4g} and {bounds[1]:.4g}, of different channels"
        return UP * math.hypot(*bounds), f"root of {bounds[0]:.4g}^2 + {bounds[1]:.4g}^2"

    def apply(self, v: Array) -> tuple[Array, Array]:
        both, off = self.along(v)
        return np.concatenate(both, axis=1), UP * off


def starts_with_gather(path: list[Layer]) -> bool:
    return bool(path) and isinstance(path[0], Gather)
