"""Batches of a data set that lives on the device as uint8: shuffled, augmented and scaled there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from lip_plugin.errors import DataError
from lip_plugin.train.augment import Augmentation, augment_batch
from lip_plugin.train.config import AugmentConfig
from lip_plugin.train.seeds import Stream, derived_generator

Batch = tuple[Tensor, Tensor]
"""(x (B, C, H, W) float32 in [0,1], y (B,) int64), on the device."""


class BatchSource(Protocol):
    """What a training run draws from."""

    @property
    def steps(self) -> int:
        """Batches per epoch."""
        ...

    @property
    def batch_size(self) -> int: ...

    def epoch(self, epoch: int) -> Iterator[Batch]:
        """The batches of one epoch, which depend on the source's seed and on this number, and on no call before."""
        ...


@dataclass(frozen=True)
class DeviceBatches:
    """Full batches of images (N, C, H, W) uint8 that are on the device; the rest of an epoch is dropped."""

    images: Tensor
    labels: Tensor
    batch_size: int
    augmentation: Augmentation
    seed: int

    def __post_init__(self) -> None:
        check_batch_size(self.batch_size, len(self.labels))

    @property
    def steps(self) -> int:
        return len(self.labels) // self.batch_size

    def epoch(self, epoch: int) -> Iterator[Batch]:
        order = epoch_order(len(self.labels), self.seed, epoch).to(self.images.device)
        draws = derived_generator(self.seed, Stream.REAL_AUGMENT, epoch)
        for index in order.split(self.batch_size)[: self.steps]:
            yield augment_batch(self.images[index], self.augmentation, draws).float() / 255, self.labels[index]


def epoch_order(size: int, seed: int, epoch: int) -> Tensor:
    """The permutation of ``size`` images in which an epoch sees them."""
    return torch.randperm(size, generator=derived_generator(seed, Stream.REAL_ORDER, epoch))


def check_batch_size(batch_size: int, size: int) -> None:
    """Raises DataError."""
    if not 1 <= batch_size <= size:
        raise DataError(f"a batch of {batch_size} does not fit {size} images; choose 1 to {size}")


def shuffled_batches(
    images: Tensor, labels: Tensor, batch_size: int, augment: AugmentConfig, generator: torch.Generator
) -> Iterator[Batch]:
    """Full batches (x float in [0,1], y) in an order drawn from ``generator``; the rest of the epoch is dropped."""
    order = torch.randperm(len(labels), generator=generator)
    for start in range(0, len(labels) - batch_size + 1, batch_size):
        index = order[start : start + batch_size]
        yield augmented(images[index], augment, generator).float() / 255, labels[index]


def augmented(images: Tensor, augment: AugmentConfig, generator: torch.Generator) -> Tensor:
    """Random horizontal flips and shifts, one draw per image, in one batch. (B, C, H, W) -> the same shape."""
    return augment_batch(images, Augmentation(crop=augment.crop, flip=augment.flip), generator)
