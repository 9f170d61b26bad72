"""A data set cut into contiguous blocks, the unit of work of every evaluation: read when needed, owned by one rank."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from lip_plugin.data import LabelledImages
from lip_plugin.errors import DataError
from lip_plugin.evaluate.journal import Journal
from lip_plugin.ranks import Ranks

BLOCK_SIZE = 256


@dataclass(frozen=True)
class Part:
    """The blocks b with b modulo ``of`` = ``index``, as one of several jobs that know nothing of each other."""

    index: int = 0
    of: int = 1


@dataclass(frozen=True)
class Blocks:
    """Images in blocks of ``size``, pixels in ``dtype``; those of the ``part`` are dealt out to the ranks in turn.

    With a ``journal`` finished units are kept there, and taken up from there.

    Pixels are never kept: every read goes to the data set. What is checked here is that its blocks are the
    ones its labels announce; pixels are checked where they are used.
    """

    images: LabelledImages
    size: int
    dtype: torch.dtype
    ranks: Ranks = field(default_factory=Ranks)
    journal: Journal | None = None
    part: Part = field(default_factory=Part)

    @cached_property
    def labels(self) -> Tensor:
        """(N,) int64 on the CPU."""
        return torch.from_numpy(np.array(self.images.labels, dtype=np.int64))

    @cached_property
    def digest(self) -> str:
        """Of the labels and how they are cut: ranks that differ in it do not work on the same images."""
        return hashlib.sha256(f"{self.size} ".encode() + self.labels.numpy().tobytes()).hexdigest()

    @property
    def count(self) -> int:
        """How many blocks there are, the last one possibly smaller."""
        return -(-len(self.labels) // self.size)

    def span(self, block: int) -> range:
        """Positions of a block's images in file order."""
        return range(block * self.size, min((block + 1) * self.size, len(self.labels)))

    def owned_by(self, rank: int) -> range:
        """The blocks of a rank, in the order in which it works on them."""
        return range(self.part.index + rank * self.part.of, self.count, self.ranks.world * self.part.of)

    def positions(self, rank: int) -> Tensor:
        """Positions in file order of all images of a rank, (n,) int64, block by block."""
        return torch.tensor([i for block in self.owned_by(rank) for i in self.span(block)], dtype=torch.int64)

    def read(self, block: int) -> Tensor:
        """The pixels of one block (B, C, H, W). Raises DataError."""
        found = next(self.images.blocks(self.size, self.dtype, first=block, step=self.count), None)
        if found is None:
            raise self._changed(block)
        return self._checked(block, found)

    def read_own(self) -> Iterator[Tensor]:
        """The pixels of this rank's blocks in one pass, none of them held on to. Raises DataError."""
        own = self.owned_by(self.ranks.rank)
        return map(self._checked, own, self.images.blocks(self.size, self.dtype, first=own.start, step=own.step))

    def seconds_taken_up(self) -> float:
        """Spent by earlier runs on the units that all ranks have taken up since this was asked last; on every rank."""
        if self.journal is None:
            return 0.0
        mine, self.journal.seconds = self.journal.seconds, 0.0
        return sum(self.ranks.gather(mine))

    def _checked(self, block: int, found: tuple[Tensor, Tensor]) -> Tensor:
        x, y = found
        span = self.span(block)
        if len(x) != len(span) or not torch.equal(y.cpu().long(), self.labels[span.start : span.stop]):
            raise self._changed(block)
        return x

    def _changed(self, block: int) -> DataError:
        span = self.span(block)
        return DataError(
            f"{self.images.source}: images {span.start} to {span.stop - 1} are not the ones its labels announce; "
            "leave the data alone while it is evaluated, and start again"
        )
