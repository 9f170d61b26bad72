"""Batches of pictures that do not fit in memory: decoded and augmented by worker processes as they are needed."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from einops import rearrange
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from lip_plugin.data.picture_set import Transform
from lip_plugin.data.pictures import PictureSource, eight_bits
from lip_plugin.data.workers import leave_signals_to_the_parent, one_line_errors
from lip_plugin.extras import require
from lip_plugin.ranks import Ranks
from lip_plugin.train.batches import Batch, check_batch_size, epoch_order
from lip_plugin.train.config import AugmentConfig, PictureConfig
from lip_plugin.train.seeds import Stream, derived_seed


def training_transform(pictures: PictureConfig, augment: AugmentConfig) -> Transform:
    """Resize, RandAugment, random crop, mirror, as Hu et al. (ICLR 2024) train on ImageNet. uint8 to uint8."""
    lib: Any = require("torchvision.transforms.v2")
    smallest, largest = pictures.train_resize
    steps: list[Any] = [lib.RandomResize(smallest, largest + 1, antialias=True)]  # torchvision's range is half open
    if augment.rand_augment == 1:
        steps.append(lib.RandAugment())
    elif augment.rand_augment > 0:
        steps.append(lib.RandomApply([lib.RandAugment()], p=augment.rand_augment))
    steps.append(lib.RandomCrop(pictures.crop))
    if augment.flip:
        steps.append(lib.RandomHorizontalFlip())
    return lib.Compose(steps)


class _Pictures(Dataset[tuple[Tensor, int]]):
    """Indexed by (epoch, number): what a picture's transform draws depends on the seed and these two."""

    def __init__(self, pictures: PictureSource, transform: Transform, seed: int) -> None:
        self.pictures, self.transform, self.seed = pictures, transform, seed

    def __getitem__(self, key: tuple[int, int]) -> tuple[Tensor, int]:
        epoch, number = key
        levels = eight_bits(self.pictures.read(number), f"training picture {number}")
        picture = rearrange(torch.from_numpy(levels), "h w c -> c h w")
        with _seeded(derived_seed(self.seed, Stream.PICTURE, epoch, number)):
            return self.transform(picture).contiguous(), int(self.pictures.labels[number])


@contextmanager
def _seeded(seed: int) -> Generator[None]:
    """torchvision draws from torch's global CPU generator, which gets its state back."""
    generator = torch.default_generator
    state = generator.get_state()
    generator.manual_seed(seed)
    try:
        yield
    finally:
        generator.set_state(state)


class _EpochKeys:
    """Lists of (epoch, number) for the loader, this process's share of each batch. The epoch is set before a round."""

    def __init__(self, size: int, batch_size: int, *, seed: int, share: slice) -> None:
        self.size, self.batch_size, self.seed, self.share = size, batch_size, seed, share
        self.epoch, self.first_step = 0, 0

    def __len__(self) -> int:
        return self.size // self.batch_size

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        epoch = self.epoch
        batches = epoch_order(self.size, self.seed, epoch).split(self.batch_size)
        for numbers in batches[self.first_step : len(self)]:
            yield [(epoch, number) for number in numbers[self.share].tolist()]


class StreamedBatches:
    """A `BatchSource` of pictures, scaled to [0,1] on the device, without mean or standard deviation.

    Full batches in an order that follows from (seed, epoch), whatever the number of worker processes; each
    of several ``ranks`` decodes its share of every batch. Raises DataError and ConfigError on a batch that
    does not fit the pictures or the ranks.
    """

    def __init__(
        self,
        pictures: PictureSource,
        *,
        batch_size: int,
        sizes: PictureConfig,
        augment: AugmentConfig,
        seed: int = 0,
        device: torch.device | str = "cpu",
        ranks: Ranks | None = None,
    ) -> None:
        check_batch_size(batch_size, len(pictures))
        self.batch_size = batch_size
        self._device = torch.device(device)
        share = (ranks or Ranks()).share_of(batch_size)
        self._keys = _EpochKeys(len(pictures), batch_size, seed=seed, share=share)
        self._loader: DataLoader[tuple[Tensor, int]] = DataLoader(
            _Pictures(pictures, training_transform(sizes, augment), seed),
            batch_sampler=self._keys,
            num_workers=sizes.workers,
            persistent_workers=sizes.workers > 0,
            pin_memory=self._device.type == "cuda",
            worker_init_fn=leave_signals_to_the_parent,
            generator=torch.Generator(),  # else every round would draw from the global one
        )

    @property
    def steps(self) -> int:
        return len(self._keys)

    def epoch(self, epoch: int, *, first_step: int = 0) -> Iterator[Batch]:
        """Raises DataError on a picture that cannot be decoded."""
        self._keys.epoch, self._keys.first_step = epoch, first_step
        with one_line_errors():
            for x, y in self._loader:
                yield x.to(self._device, non_blocking=True).float() / 255, y.to(self._device, non_blocking=True)
