"""The adversarial points of an evaluation where its journal keeps them: read when asked for, a block at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import overload

from torch import Tensor

from lip_plugin.evaluate.blocks import Blocks
from lip_plugin.evaluate.results import AdversarialImage
from lip_plugin.evaluate.units import points_of


@dataclass(frozen=True, eq=False)
class PointsOnDisk(Sequence[AdversarialImage]):
    """Of each image in ``units``, ascending, the point that its unit holds.

    A slice reads the pixels and the units of every block in it once; a single image reads as much as its whole block.
    Raises DataError where the images, ConfigError where the units cannot be read any more.
    """

    blocks: Blocks
    units: Mapping[int, str]

    def __len__(self) -> int:
        return len(self.units)

    @overload
    def __getitem__(self, at: int) -> AdversarialImage: ...
    @overload
    def __getitem__(self, at: slice) -> tuple[AdversarialImage, ...]: ...
    def __getitem__(self, at: int | slice) -> AdversarialImage | tuple[AdversarialImage, ...]:
        chosen = list(self.units)[at]
        return self._read(chosen) if isinstance(chosen, list) else self._read([chosen])[0]

    def __iter__(self) -> Iterator[AdversarialImage]:
        for start in range(0, len(self), self.blocks.size):
            yield from self[start : start + self.blocks.size]

    def _read(self, indices: list[int]) -> tuple[AdversarialImage, ...]:
        found: dict[int, AdversarialImage] = {}
        for block, members in groupby(indices, lambda index: index // self.blocks.size):
            found |= self._read_block(block, list(members))
        return tuple(found[index] for index in indices)

    def _read_block(self, block: int, indices: list[int]) -> dict[int, AdversarialImage]:
        pixels, start = self.blocks.read(block), self.blocks.span(block).start
        if self.blocks.journal is not None:
            self.blocks.journal.look(block, pixels)  # other ranks' blocks are new to this process
        points: dict[int, Tensor] = {}
        for unit in dict.fromkeys(self.units[index] for index in indices):
            wanted = [index - start for index in indices if self.units[index] == unit]
            points |= points_of(self.blocks, unit, block, wanted)
        return {
            index: AdversarialImage(index, pixels[index - start].to("cpu", copy=True), points[index - start])
            for index in indices
        }
