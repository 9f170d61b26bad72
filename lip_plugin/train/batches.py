"""Batches of a data set that lives on the device as uint8: shuffled, augmented and scaled there.

The order of an epoch follows from (seed, epoch) and the draws of a step from (seed, epoch, step): a run can
go on at any step without a generator's history, and several processes can share a batch.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from lip_plugin.errors import DataError
from lip_plugin.ranks import Ranks
from lip_plugin.train.augment import Augmentation, augment_batch
from lip_plugin.train.draws import Draws
from lip_plugin.train.seeds import Stream, derived_generator

Batch = tuple[Tensor, Tensor]
"""(x (B, C, H, W) float32 in [0,1], y (B,) int64), on the device."""


class BatchSource(Protocol):
    """What a training run draws from. With several processes each yields its share of every batch."""

    @property
    def steps(self) -> int:
        """Batches per epoch."""
        ...

    @property
    def batch_size(self) -> int:
        """Images per step over all processes."""
        ...

    def epoch(self, epoch: int, *, first_step: int = 0) -> Iterator[Batch]:
        """The batches of one epoch from a step on, which depend on the source's seed and on no call before."""
        ...


@dataclass(frozen=True)
class DeviceBatches:
    """Full batches of images (N, C, H, W) uint8 that are on the device; the rest of an epoch is dropped."""

    images: Tensor
    labels: Tensor
    batch_size: int
    augmentation: Augmentation
    seed: int
    ranks: Ranks = field(default_factory=Ranks)

    def __post_init__(self) -> None:
        check_batch_size(self.batch_size, len(self.labels))
        self.ranks.share_of(self.batch_size)

    @property
    def steps(self) -> int:
        return len(self.labels) // self.batch_size

    def epoch(self, epoch: int, *, first_step: int = 0) -> Iterator[Batch]:
        share = self.ranks.share_of(self.batch_size)
        order = epoch_order(len(self.labels), self.seed, epoch)
        for step in range(first_step, self.steps):
            index = order[step * self.batch_size : (step + 1) * self.batch_size][share].to(self.images.device)
            generator = derived_generator(self.seed, Stream.REAL_AUGMENT, epoch, step)
            draws = Draws(generator, self.batch_size, share)
            yield augment_batch(self.images[index], self.augmentation, draws).float() / 255, self.labels[index]


def epoch_order(size: int, seed: int, epoch: int) -> Tensor:
    """The permutation of ``size`` images in which an epoch sees them."""
    return torch.randperm(size, generator=derived_generator(seed, Stream.REAL_ORDER, epoch))


def check_batch_size(batch_size: int, size: int) -> None:
    """Raises DataError."""
    if not 1 <= batch_size <= size:
        raise DataError(f"a batch of {batch_size} does not fit {size} images; choose 1 to {size}")
