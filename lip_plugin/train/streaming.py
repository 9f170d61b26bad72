"""Batches of pictures that do not fit in memory: decoded and augmented by worker processes as they are needed."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from lip_plugin.data.folders import PictureFolder
from lip_plugin.data.optional import require
from lip_plugin.data.pictures import read_rgb
from lip_plugin.errors import DataError
from lip_plugin.train.batches import Batch, check_batch_size, epoch_order
from lip_plugin.train.seeds import Stream, derived_seed

Transform = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class PictureSizes:
    """Sides in pixels. Pictures are resized by their shorter side; in training to one drawn from a range."""

    crop: int = 224
    train_resize: tuple[int, int] = (224, 288)
    test_resize: int = 256


def training_transform(sizes: PictureSizes) -> Transform:
    """Resize, RandAugment, random crop, mirror, as Hu et al. (ICLR 2024) train on ImageNet. uint8 to uint8."""
    lib: Any = require("torchvision.transforms.v2")
    smallest, largest = sizes.train_resize
    return lib.Compose(
        [
            lib.RandomResize(smallest, largest + 1, antialias=True),  # torchvision's range is half open
            lib.RandAugment(),
            lib.RandomCrop(sizes.crop),
            lib.RandomHorizontalFlip(),
        ]
    )


def evaluation_transform(sizes: PictureSizes) -> Transform:
    """Resize and centre crop. uint8 to uint8."""
    lib: Any = require("torchvision.transforms.v2")
    return lib.Compose([lib.Resize(sizes.test_resize, antialias=True), lib.CenterCrop(sizes.crop)])


class _Pictures(Dataset[tuple[Tensor, int]]):
    """Indexed by (epoch, number): what a picture's transform draws depends on the seed and these two."""

    def __init__(self, folder: PictureFolder, transform: Transform, seed: int) -> None:
        self.folder, self.transform, self.seed = folder, transform, seed

    def __getitem__(self, key: tuple[int, int]) -> tuple[Tensor, int]:
        epoch, number = key
        picture = torch.from_numpy(read_rgb(self.folder.path(number))).permute(2, 0, 1)
        with _seeded(derived_seed(self.seed, Stream.PICTURE, epoch, number)):
            return self.transform(picture).contiguous(), int(self.folder.labels[number])


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
    """Lists of (epoch, number) for the loader; the epoch is set before each round."""

    def __init__(self, size: int, batch_size: int, *, train: bool, seed: int) -> None:
        self.size, self.batch_size, self.train, self.seed = size, batch_size, train, seed
        self.epoch, self.first_step = 0, 0

    def __len__(self) -> int:
        return self.size // self.batch_size if self.train else -(-self.size // self.batch_size)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        order = epoch_order(self.size, self.seed, self.epoch) if self.train else torch.arange(self.size)
        for numbers in order.split(self.batch_size)[self.first_step : len(self)]:
            yield [(self.epoch, number) for number in numbers.tolist()]


class StreamedBatches:
    """Batches of a folder of pictures, scaled to [0,1] on the device, without mean or standard deviation.

    In training: full batches in an order that follows from (seed, epoch), whatever the number of
    ``workers``. Else: every picture once, in order, by resize and centre crop.
    """

    def __init__(
        self,
        folder: PictureFolder,
        *,
        batch_size: int,
        train: bool,
        seed: int = 0,
        sizes: PictureSizes | None = None,
        workers: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        check_batch_size(batch_size, len(folder))
        sizes = sizes or PictureSizes()
        self.batch_size = batch_size
        self._device = torch.device(device)
        self._keys = _EpochKeys(len(folder), batch_size, train=train, seed=seed)
        pictures = _Pictures(folder, training_transform(sizes) if train else evaluation_transform(sizes), seed)
        self._loader: DataLoader[tuple[Tensor, int]] = DataLoader(
            pictures,
            batch_sampler=self._keys,
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=self._device.type == "cuda",
            generator=torch.Generator(),  # else every round would draw from the global one
        )

    @property
    def steps(self) -> int:
        return len(self._keys)

    def epoch(self, epoch: int, *, first_step: int = 0) -> Iterator[Batch]:
        """Raises DataError on a picture that cannot be decoded."""
        self._keys.epoch, self._keys.first_step = epoch, first_step
        try:
            for x, y in self._loader:
                yield x.to(self._device, non_blocking=True).float() / 255, y.to(self._device, non_blocking=True)
        except DataError as error:
            # A worker sends its whole traceback; the last line is the message.
            line = str(error).strip().splitlines()[-1]
            raise DataError(line.removeprefix(f"{DataError.__module__}.{DataError.__qualname__}: ")) from error
