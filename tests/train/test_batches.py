"""Batches on the device: what an epoch is follows from (seed, epoch) alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from lip_plugin.errors import DataError
from lip_plugin.ranks import Ranks
from lip_plugin.train.augment import Augmentation
from lip_plugin.train.batches import Batch, DeviceBatches
from lip_plugin.train.seeds import Stream, derived_generator, derived_seed

IMAGES = torch.randint(0, 256, (23, 3, 6, 5), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
LABELS = torch.arange(23)


def _source(seed: int = 4, augmentation: Augmentation | None = None) -> DeviceBatches:
    return DeviceBatches(IMAGES, LABELS, 5, augmentation or Augmentation(crop=2, flip=True), seed)


def _all(batches: list[Batch]) -> tuple[Tensor, Tensor]:
    return torch.cat([x for x, _ in batches]), torch.cat([y for _, y in batches])


def test_an_epoch_is_the_same_whatever_was_drawn_before() -> None:
    source = _source()
    in_turn = [_all(list(source.epoch(epoch))) for epoch in range(3)]
    next(source.epoch(0))  # one that is not finished
    torch.manual_seed(5)
    for epoch in (2, 0, 1):
        for found, expected in zip(_all(list(_source().epoch(epoch))), in_turn[epoch], strict=True):
            assert torch.equal(found, expected)
    assert not torch.equal(in_turn[0][1], in_turn[1][1])
    assert not torch.equal(in_turn[0][1], _all(list(_source(seed=5).epoch(0)))[1])


def test_the_augmentation_is_drawn_anew_in_every_epoch() -> None:
    """Of equal images, so that the order does not matter."""
    source = DeviceBatches(IMAGES[:1].repeat(20, 1, 1, 1), LABELS[:20], 20, Augmentation(crop=2, flip=True), 0)
    (first, _), (second, _) = (next(source.epoch(epoch)) for epoch in (0, 1))
    assert int((first != second).flatten(1).any(1).sum()) > 15


def test_every_image_at_most_once_and_unchanged_without_augmentation() -> None:
    source = _source(augmentation=Augmentation())
    batches = list(source.epoch(0))
    assert len(batches) == source.steps == 4 and all(len(x) == len(y) == 5 for x, y in batches)
    x, y = _all(batches)
    assert len(set(y.tolist())) == 20
    assert x.dtype == torch.float32 and np.array_equal(x.numpy(), IMAGES[y].numpy() / np.float32(255))


def test_batches_that_do_not_fit_are_refused() -> None:
    for size in (0, 24, -1):
        with pytest.raises(DataError, match=f"a batch of {size} does not fit 23 images"):
            DeviceBatches(IMAGES, LABELS, size, Augmentation(), 0)
    assert len(list(DeviceBatches(IMAGES, LABELS, 23, Augmentation(), 0).epoch(7))) == 1


def test_derived_seeds_are_fixed_and_do_not_collide() -> None:
    """The numbers of a run must not change with a release: a resumed run would go on with others."""
    numbers = [(seed, stream, epoch) for seed in range(5) for stream in Stream for epoch in range(50)]
    seeds = [derived_seed(*row) for row in numbers]
    assert len(set(seeds)) == len(numbers) and all(0 <= seed < 2**63 for seed in seeds)
    words = np.random.SeedSequence([3, 1, 8]).generate_state(2, np.uint32)
    assert derived_seed(3, Stream.REAL_AUGMENT, 8) == (int(words[0]) + (int(words[1]) << 32)) // 2
    assert [int(stream) for stream in Stream] == [0, 1, 2, 3, 4]
    assert derived_generator(3, Stream.REAL_AUGMENT, 8).initial_seed() == derived_seed(3, Stream.REAL_AUGMENT, 8)


def test_an_epoch_can_be_entered_at_any_step() -> None:
    whole = list(_source().epoch(4))
    for (x, y), (expected_x, expected_y) in zip(_source().epoch(4, first_step=2), whole[2:], strict=True):
        assert torch.equal(x, expected_x) and torch.equal(y, expected_y)


def test_processes_share_every_batch() -> None:
    """Two shares side by side are the batch of one process, augmentation included."""
    augmentation = Augmentation(crop=2, flip=True)
    alone = DeviceBatches(IMAGES, LABELS, 6, augmentation, 4)
    halves = [DeviceBatches(IMAGES, LABELS, 6, augmentation, 4, Ranks(rank, 2)) for rank in (0, 1)]
    for (x, y), *parts in zip(alone.epoch(1), *(half.epoch(1) for half in halves), strict=True):
        assert torch.equal(torch.cat([part[0] for part in parts]), x)
        assert torch.equal(torch.cat([part[1] for part in parts]), y)
