"""Two paths from one input, added: the sum of their bounds. A path is a chain of layers, or nothing: the identity."""

from __future__ import annotations

import math
from functools import cached_property

from ..arithmetic import UP, Array, Bound, Shape, U, lengths
from ..chain import follow, product
from ..layer import Layer, read_chain

PATHS = ("branch", "shortcut")


class Residual(Layer, kind="residual"):
    """The tensors of the layer at a position of a path are there by names that begin with path_position_."""

    def __post_init__(self) -> None:  # its tensors are those of the layers inside
        (branch, shortcut), tensors = self.paths, self.tensors
        inside = [*branch, *shortcut]
        if sum(len(layer.tensors) for layer in inside) != len(tensors) or not branch:
            raise ValueError(f"card.json: residual with {len(branch)} layers and tensors {sorted(tensors)}")
        if any(layer.kind == "head" for layer in inside) or ends(branch, self.shape) != ends(shortcut, self.shape):
            raise ValueError(f"card.json: residual adds {ends(branch, self.shape)} to {ends(shortcut, self.shape)}")

    @cached_property
    def paths(self) -> list[list[Layer]]:
        found = list[list[Layer]]()
        for path in PATHS:
            records = [
                {**record, "tensors": self.names_under(f"{path}_{position}_")}
                for position, record in enumerate(self.settings[path])
            ]
            found.append(read_chain(records, self.tensors, self.shape))
        return found

    def names_under(self, prefix: str) -> dict[str, str]:
        return {name.removeprefix(prefix): name for name in self.tensors if name.startswith(prefix)}

    @cached_property
    def out(self) -> Shape:
        return ends(self.paths[0], self.shape)

    def norm(self) -> Bound:
        branch, shortcut = (product(layer.bound[0] for layer in path) for path in self.paths)
        return math.nextafter(branch + shortcut, math.inf), f"shortcut {shortcut:.4g} + branch {branch:.4g}"

    def apply(self, v: Array) -> tuple[Array, Array]:
        (a, off), (b, more) = (follow(path, [layer.bound[0] for layer in path], v) for path in self.paths)
        y = a + b
        return y, UP * (off + more + 2 * U * lengths(y))


def ends(path: list[Layer], shape: Shape) -> Shape:
    return path[-1].out if path else shape
