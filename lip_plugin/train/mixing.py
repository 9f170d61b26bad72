"""Generated images beside the real ones, at a fixed ratio in every batch."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from einops import rearrange
from torch import Tensor

from lip_plugin.data.archives import read_npz
from lip_plugin.errors import DataError
from lip_plugin.ranks import Ranks
from lip_plugin.train.augment import Augmentation, augment_batch
from lip_plugin.train.batches import Batch, BatchSource
from lip_plugin.train.draws import Draws
from lip_plugin.train.seeds import Stream, derived_generator


@dataclass(frozen=True)
class GeneratedImages:
    """Pixels (N, H, W, C) uint8 with labels (N,) int64, on the host or, with ``to``, on the device."""

    pixels: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def to(self, device: torch.device | str) -> GeneratedImages:
        return GeneratedImages(self.pixels.to(device), self.labels.to(device))


def load_generated(path: str | Path, *, image_shape: tuple[int, int, int], num_classes: int) -> GeneratedImages:
    """An .npz with ``image`` uint8 (N, H, W, C) and ``label`` integers (N,), for real images (C, H, W).

    The pixels are in memory once, as they come: 3.1 GB for a million images of CIFAR's size. Raises DataError.
    """
    path = Path(path)
    _, pixels, labels = read_npz(path, ("image", "label"))
    channels, height, width = image_shape
    if pixels.dtype != np.uint8 or pixels.shape[1:] != (height, width, channels) or len(pixels) == 0:
        raise DataError(
            f"{path}: image is {pixels.dtype} of shape {pixels.shape}; "
            f"expected uint8 (N, {height}, {width}, {channels})"
        )
    if labels.shape != pixels.shape[:1] or not np.issubdtype(labels.dtype, np.integer):
        raise DataError(f"{path}: label is {labels.dtype} of shape {labels.shape}; expected integers ({len(pixels)},)")
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= num_classes:
        raise DataError(f"{path}: labels span {low} to {high}; expected 0 to {num_classes - 1}")
    return GeneratedImages(torch.from_numpy(pixels), torch.from_numpy(labels.astype(np.int64)))


def generated_per_batch(batch_size: int, ratio: float) -> int:
    """How many generated images go with ``batch_size`` real ones. Raises DataError unless a whole number >= 1."""
    count = round(batch_size * ratio) if math.isfinite(ratio) else 0
    if count < 1 or abs(count - batch_size * ratio) > 1e-6:
        raise DataError(
            f"{batch_size} real images at a ratio of {ratio:g} make {batch_size * ratio:g} generated ones per batch; "
            "choose a ratio that gives a whole number from 1"
        )
    return count


@dataclass(frozen=True)
class MixedBatches:
    """Each batch of ``real`` followed by ``per_batch`` generated images with an augmentation of their own.

    An epoch is one of the real images. The generated ones go round at their own pace: every image once,
    in a fresh order, before any comes again.
    """

    real: BatchSource
    generated: GeneratedImages
    per_batch: int
    augmentation: Augmentation
    seed: int
    ranks: Ranks = field(default_factory=Ranks)

    @property
    def steps(self) -> int:
        return self.real.steps

    @property
    def batch_size(self) -> int:
        return self.real.batch_size + self.per_batch

    def epoch(self, epoch: int, *, first_step: int = 0) -> Iterator[Batch]:
        share = self.ranks.share_of(self.per_batch)
        start = epoch * self.steps * self.per_batch
        for step, (x, y) in enumerate(self.real.epoch(epoch, first_step=first_step), start=first_step):
            index = round_robin(start + step * self.per_batch, self.per_batch, len(self.generated), self.seed)
            index = index[share].to(self.generated.pixels.device)
            pixels = rearrange(self.generated.pixels[index].to(x.device), "b h w c -> b c h w")
            draws = Draws(derived_generator(self.seed, Stream.GENERATED_AUGMENT, epoch, step), self.per_batch, share)
            extra = augment_batch(pixels, self.augmentation, draws).float() / 255
            yield torch.cat([x, extra]), torch.cat([y, self.generated.labels[index].to(y.device)])


def round_robin(start: int, count: int, size: int, seed: int) -> Tensor:
    """Entries ``start`` to ``start + count`` of an endless row of permutations of ``size``, found without the rest."""
    parts: list[Tensor] = []
    while count > 0:
        number, offset = divmod(start, size)
        part = _permutation(size, seed, number)[offset : offset + count]
        parts.append(part)
        start, count = start + len(part), count - len(part)
    return torch.cat(parts)


@lru_cache(maxsize=2)
def _permutation(size: int, seed: int, number: int) -> Tensor:
    return torch.randperm(size, generator=derived_generator(seed, Stream.GENERATED_ORDER, number))
