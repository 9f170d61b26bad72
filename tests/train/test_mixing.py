"""Generated images beside real ones: which, how many, and in an order that needs no history."""

from __future__ import annotations

import math
import tracemalloc
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lip_plugin.errors import DataError
from lip_plugin.train.augment import Augmentation, augment_batch
from lip_plugin.train.batches import BatchSource, DeviceBatches
from lip_plugin.train.draws import Draws
from lip_plugin.train.mixing import GeneratedImages, MixedBatches, generated_per_batch, load_generated, round_robin
from lip_plugin.train.seeds import Stream, derived_generator

REAL = torch.zeros(10, 3, 4, 5, dtype=torch.uint8) + torch.arange(10, dtype=torch.uint8)[:, None, None, None]
COUNT = 17
PIXELS = np.random.default_rng(0).integers(100, 256, (COUNT, 4, 5, 3), dtype=np.uint8)


def _npz(path: Path, **arrays: Any) -> Path:
    np.savez(path, **arrays)
    return path


def _mixed(tmp_path: Path, augmentation: Augmentation | None = None, seed: int = 2) -> MixedBatches:
    path = _npz(tmp_path / "made.npz", image=PIXELS, label=np.arange(COUNT, dtype=np.uint8))
    generated = load_generated(path, image_shape=(3, 4, 5), num_classes=COUNT)
    real: BatchSource = DeviceBatches(REAL, torch.arange(10) + 100, 3, Augmentation(), seed)
    return MixedBatches(real, generated, generated_per_batch(3, 2.0), augmentation or Augmentation(), seed)


def test_each_batch_is_the_real_one_and_then_the_generated_ones(tmp_path: Path) -> None:
    source = _mixed(tmp_path)
    assert (source.steps, source.batch_size) == (3, 9)
    for epoch in (0, 4):
        for (x, y), (real_x, real_y) in zip(source.epoch(epoch), source.real.epoch(epoch), strict=True):
            assert torch.equal(x[:3], real_x) and torch.equal(y[:3], real_y)
            expected = PIXELS[y[3:].numpy()].transpose(0, 3, 1, 2) / np.float32(255)
            assert np.array_equal(x[3:].numpy(), expected) and len(y) == 9


def test_generated_images_go_round_at_their_own_pace(tmp_path: Path) -> None:
    """18 a epoch of 17: after 17 epochs each has been seen 18 times, and never two rounds apart."""
    source = _mixed(tmp_path)
    seen: Counter[int] = Counter()
    orders: list[list[int]] = []
    for epoch in range(17):
        order = [int(label) for _, y in source.epoch(epoch) for label in y[3:]]
        orders.append(order)
        for label in order:
            seen[label] += 1
            assert seen[label] - min(seen[other] for other in range(COUNT)) <= 1 or len(seen) < COUNT
    assert set(seen.values()) == {18}
    assert orders[0][:17] != orders[1][:17]
    assert [int(label) for _, y in _mixed(tmp_path).epoch(9) for label in y[3:]] == orders[9]
    assert [int(label) for _, y in _mixed(tmp_path, seed=3).epoch(9) for label in y[3:]] != orders[9]


@given(start=st.integers(0, 60), count=st.integers(1, 40), size=st.integers(1, 12), seed=st.integers(0, 3))
def test_round_robin_is_a_window_of_the_endless_row(start: int, count: int, size: int, seed: int) -> None:
    row = [
        torch.randperm(size, generator=derived_generator(seed, Stream.GENERATED_ORDER, number))
        for number in range((start + count) // size + 1)
    ]
    assert torch.equal(round_robin(start, count, size, seed), torch.cat(row)[start : start + count])


def test_generated_images_have_an_augmentation_of_their_own(tmp_path: Path) -> None:
    augmentation = Augmentation(crop=2, flip=True)
    plain, source = _mixed(tmp_path), _mixed(tmp_path, augmentation)
    for step, ((x, y), (plain_x, plain_y)) in enumerate(zip(source.epoch(5), plain.epoch(5), strict=True)):
        draws = Draws(derived_generator(2, Stream.GENERATED_AUGMENT, 5, step), source.per_batch)
        assert torch.equal(y, plain_y) and torch.equal(x[:3], plain_x[:3])
        pixels = (plain_x[3:] * 255).round().to(torch.uint8)
        assert torch.equal(x[3:], augment_batch(pixels, augmentation, draws).float() / 255)
        assert not torch.equal(x[3:], plain_x[3:])


def test_the_file_is_in_memory_once(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (4000, 32, 32, 3), dtype=np.uint8)
    labels = np.zeros(4000, np.int64)
    _npz(tmp_path / "plain.npz", image=pixels, label=labels)
    np.savez_compressed(tmp_path / "packed.npz", image=pixels, label=labels)
    for name in ("plain.npz", "packed.npz"):
        tracemalloc.start()
        try:
            generated = load_generated(tmp_path / name, image_shape=(3, 32, 32), num_classes=1)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert pixels.nbytes <= peak < 1.2 * pixels.nbytes
        assert np.array_equal(generated.pixels.numpy(), pixels) and len(generated) == 4000


GOOD_LABELS = np.zeros(COUNT, np.int64)
BAD: dict[str, tuple[dict[str, Any], str]] = {
    "channels first": ({"image": PIXELS.transpose(0, 3, 1, 2)}, r"uint8 of shape \(17, 3, 4, 5\); .*\(N, 4, 5, 3\)"),
    "floats": ({"image": PIXELS / 255}, "image is float64"),
    "another size": ({"image": PIXELS[:, :3]}, r"shape \(17, 3, 5, 3\)"),
    "no image": ({"image": PIXELS[:0], "label": GOOD_LABELS[:0]}, r"shape \(0, 4, 5, 3\)"),
    "a number": ({"image": np.uint8(3)}, r"shape \(\)"),
    "too few labels": ({"label": GOOD_LABELS[:-1]}, r"label is int64 of shape \(16,\); expected integers \(17,\)"),
    "float labels": ({"label": GOOD_LABELS / 1}, "label is float64"),
    "unknown class": ({"label": GOOD_LABELS + 10}, "labels span 10 to 10; expected 0 to 9"),
    "negative class": ({"label": GOOD_LABELS - 1}, "labels span -1 to -1"),
    "a huge class": ({"label": np.full(COUNT, 2**64 - 1, np.uint64)}, "expected 0 to 9"),
    "objects": ({"label": np.array([None] * COUNT)}, "allow_pickle"),
}


@pytest.mark.parametrize("name", BAD)
def test_unusable_files_are_refused_in_one_line(name: str, tmp_path: Path) -> None:
    arrays, words = BAD[name]
    path = _npz(tmp_path / "made.npz", **{"image": PIXELS, "label": GOOD_LABELS, **arrays})
    with pytest.raises(DataError, match=words) as caught:
        load_generated(path, image_shape=(3, 4, 5), num_classes=10)
    assert "\n" not in str(caught.value) and "made.npz" in str(caught.value)


def test_missing_arrays_and_files_are_refused(tmp_path: Path) -> None:
    path = _npz(tmp_path / "made.npz", image=PIXELS, y=GOOD_LABELS)
    for file, words in ((path, r"lacks \['label'\]"), (tmp_path / "absent.npz", "no such file")):
        with pytest.raises(DataError, match=rf"{words}.* expected an \.npz with arrays image and label"):
            load_generated(file, image_shape=(3, 4, 5), num_classes=10)


def test_ratios() -> None:
    assert [generated_per_batch(256, ratio) for ratio in (3.0, 0.25, 1, 1 / 256)] == [768, 64, 256, 1]
    for size, ratio in ((256, 0.001), (10, 0.25), (256, 0.0), (256, -1.0), (256, math.nan), (256, math.inf)):
        with pytest.raises(DataError, match="choose a ratio that gives a whole number"):
            generated_per_batch(size, ratio)


def test_moving_keeps_the_values() -> None:
    generated = GeneratedImages(torch.from_numpy(PIXELS), torch.arange(COUNT))
    moved = generated.to("cpu")
    assert torch.equal(moved.pixels, generated.pixels) and torch.equal(moved.labels, generated.labels)


def test_an_epoch_can_be_entered_at_any_step(tmp_path: Path) -> None:
    source = _mixed(tmp_path, Augmentation(crop=2, flip=True))
    whole = list(source.epoch(3))
    for (x, y), (expected_x, expected_y) in zip(source.epoch(3, first_step=2), whole[2:], strict=True):
        assert torch.equal(x, expected_x) and torch.equal(y, expected_y)
