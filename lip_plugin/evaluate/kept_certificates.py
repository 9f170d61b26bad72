"""Certificates of blocks, kept in a journal as they are proved and taken up by a later run."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from itertools import compress

import torch
from torch import Tensor

from lip_plugin.certificates import CERTIFICATE_COLUMNS, Certificate
from lip_plugin.errors import DataError
from lip_plugin.evaluate.blocks import Blocks
from lip_plugin.evaluate.journal import CERTIFICATE, Journal
from lip_plugin.network import CertifiedClassifier

_DTYPES = (torch.int64, torch.float64, torch.float64, torch.bool, torch.bool)
_BYTES_PER_IMAGE = 64


class KeptCertificates:
    """Of one rank's blocks: those in the journal are taken up, the others have to be proved.

    A radius cannot be checked but by proving it again. This is done for one of the blocks taken up, drawn at random:
    a machine that rounds otherwise is found out. Who can write into the journal can write into the report as well.
    """

    def __init__(self, model: CertifiedClassifier, blocks: Blocks, journal: Journal, arithmetic: str) -> None:
        self._model, self._blocks, self._journal, self._arithmetic = model, blocks, journal, arithmetic
        self._own = list(blocks.owned_by(blocks.ranks.rank))
        there = [block for block in self._own if journal.path(_name(block), block).exists()]
        self._again = random.SystemRandom().choice(there) if there else None
        self._there = set(there) - {self._again}
        self._next = iter([block for block in self._own if block not in self._there])
        self._parts: dict[int, Certificate] = {}
        self._since = time.perf_counter()

    def missing(self, on_taken: Callable[[int], None]) -> Iterator[Tensor]:
        """The pixels of the blocks to be proved, none of them held on to; ``on_taken``: images of one taken up."""

        def seen(block: int, pixels: Tensor) -> Tensor:
            self._journal.look(block, pixels)
            if block in self._there:
                self._parts[block], seconds = self._kept(block)
                self._journal.seconds += seconds
                on_taken(len(pixels))
            return pixels

        return compress(map(seen, self._own, self._blocks.read_own()), (b not in self._there for b in self._own))

    def add(self, part: Certificate) -> None:
        """What was proved of the next missing block. Raises ConfigError."""
        now = time.perf_counter()
        block = next(self._next)
        self._parts[block] = part
        if block == self._again:
            self._require_same(block, part)
        else:
            columns = {name: getattr(part, name) for name in CERTIFICATE_COLUMNS}
            self._journal.keep(_name(block), block, columns, seconds=now - self._since)
        self._since = now

    def whole(self, proved: Certificate) -> Certificate:
        """Of all blocks in order; ``proved`` is what was proved now. Raises DataError where blocks were not read."""
        if len(self._parts) < len(self._own):
            raise DataError(
                f"{self._blocks.images.source}: {len(self._parts)} of {len(self._own)} blocks of images could be read; "
                "start again"
            )
        first, *others = [self._parts[block] for block in self._own] or [proved]
        return first.joined(others)

    def _kept(self, block: int) -> tuple[Certificate, float]:
        """What the journal has of a block, and the seconds that it took. Raises ConfigError."""
        name, count = _name(block), len(self._blocks.span(block))
        taken = self._journal.take(name, block, largest=_BYTES_PER_IMAGE * count)
        if taken is None:
            raise self._journal.refusal(name, block, "it is gone")
        tensors, seconds = taken
        expected = {column: (dtype, (count,)) for column, dtype in zip(CERTIFICATE_COLUMNS, _DTYPES, strict=True)}
        if {column: (value.dtype, tuple(value.shape)) for column, value in tensors.items()} != expected:
            raise self._journal.refusal(name, block, f"it is no certificate of {count} images")
        part = Certificate(
            **tensors,
            arithmetic=self._arithmetic,
            digest=self._model.digest,
            foreign_operators=self._model.foreign_operators,
        )
        classes = (part.prediction >= 0) & (part.prediction < self._model.num_classes)
        if not bool((classes & (part.radius >= 0) & ~part.margin.isnan()).all()):
            raise self._journal.refusal(name, block, "it holds labels or radii that are none")
        return part, seconds

    def _require_same(self, block: int, part: Certificate) -> None:
        kept, _ = self._kept(block)
        if not all(torch.equal(getattr(kept, name), getattr(part, name)) for name in CERTIFICATE_COLUMNS):
            span = self._blocks.span(block)
            raise self._journal.refusal(
                _name(block), block, f"here other radii are proved of images {span.start} to {span.stop - 1}"
            )


def _name(block: int) -> str:
    return f"{CERTIFICATE}-{block:06}"
