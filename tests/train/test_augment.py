"""Augmentation of batches against one image at a time: torchvision's RandAugment, Pillow, slices."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from lip_plugin.errors import ConfigError, DataError, MissingDependencyError
from lip_plugin.train.augment import Augmentation, augment_batch, random_crop, random_flip
from lip_plugin.train.draws import Draws
from lip_plugin.train.rand_augment import rand_augment

pytest.importorskip("torchvision")

_OPERATIONS = 14


def _images(count: int, channels: int = 3, height: int = 12, width: int = 10, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, channels, height, width), generator=generator).to(torch.uint8)


def seeded(seed: int, batch: int) -> Draws:
    return Draws(torch.Generator().manual_seed(seed), batch)


def _draws(count: int, probability: float, seed: int) -> tuple[list[bool], list[list[tuple[int, int]]]]:
    """Which images are changed, and for each of two rounds (operation, sign) per image."""
    generator = torch.Generator().manual_seed(seed)
    chosen = (torch.rand(count, generator=generator) < probability).tolist()
    rounds: list[list[tuple[int, int]]] = []
    for _ in range(2):
        operation = torch.randint(_OPERATIONS, (count,), generator=generator).tolist()
        negative = (torch.rand(count, generator=generator) < 0.5).tolist()
        rounds.append([(number, -1 if minus else 1) for number, minus in zip(operation, negative, strict=True)])
    return chosen, rounds


@pytest.mark.parametrize("probability", [0.5, 1.0])
@pytest.mark.parametrize("shape", [(3, 12, 10), (1, 28, 28), (3, 32, 32)])
def test_each_image_is_as_torchvision_makes_it_alone(shape: tuple[int, int, int], probability: float) -> None:
    """Its RandAugment, told which operation and sign to take."""
    v2: Any = pytest.importorskip("torchvision.transforms.v2")
    theirs = v2.RandAugment()
    space: dict[str, Any] = getattr(theirs, "_AUGMENTATION_SPACE")  # noqa: B009  a private name of another library
    apply: Any = getattr(theirs, "_apply_image_or_video_transform")  # noqa: B009
    images = _images(120, *shape)
    found = rand_augment(images, probability, seeded(3, len(images)))
    chosen, rounds = _draws(120, probability, 3)
    assert len(space) == _OPERATIONS
    for index, image in enumerate(images):
        for operation, sign in (one[index] for one in rounds if chosen[index]):
            name, (levels, signed) = list(space.items())[operation]
            level = levels(theirs.num_magnitude_bins, *shape[1:])
            strength = 0.0 if level is None else float(level[theirs.magnitude]) * (sign if signed else 1)
            image = apply(image, name, strength, interpolation=theirs.interpolation, fill={})
        assert torch.equal(found[index], image), index
    assert found.shape == images.shape and found.dtype == torch.uint8


def _by_pillow(operation: int, sign: int, picture: Any) -> Any:
    """Operations whose result is exact by hand; None for the others. Strengths are 9 of 30 by the paper's table."""
    ops: Any = pytest.importorskip("PIL.ImageOps")
    pixels = np.asarray(picture)
    if operation in (3, 4):  # a shift by int(0.3 * 150/331 * 16) = 2 pixels, black behind it
        axis, moved = 4 - operation, np.zeros_like(pixels)
        there = np.roll(pixels, 2 * sign, axis)
        keep = np.arange(pixels.shape[axis])
        keep = keep[2:] if sign > 0 else keep[:-2]
        index = (slice(None), keep) if axis else (keep, slice(None))
        moved[index] = there[index]
        return moved
    exact = {0: lambda: picture, 10: lambda: ops.posterize(picture, 7), 13: lambda: ops.equalize(picture)}
    exact[11] = lambda: ops.solarize(picture, 179)  # at and above 255 * 0.7 = 178.5
    return np.asarray(exact[operation]()) if operation in exact else None


def test_strengths_against_pillow() -> None:
    """Images whose second operation is the identity."""
    image_module: Any = pytest.importorskip("PIL.Image")
    picture = _images(1, 3, 16, 16, seed=4)
    _, rounds = _draws(1500, 1.0, 6)
    found = rand_augment(picture.expand(1500, -1, -1, -1), 1.0, seeded(6, 1500))
    original = image_module.fromarray(picture[0].permute(1, 2, 0).numpy())
    compared: set[tuple[int, int]] = set()
    for index, ((operation, sign), (second, _)) in enumerate(zip(*rounds, strict=True)):
        expected = _by_pillow(operation, sign, original) if second == 0 else None
        if expected is not None:
            assert np.array_equal(found[index].permute(1, 2, 0).numpy(), expected), (operation, sign)
            compared.add((operation, sign))
    assert {operation for operation, _ in compared} == {0, 3, 4, 10, 11, 13}
    assert {(3, 1), (3, -1), (4, 1), (4, -1)} <= compared


def test_the_share_of_changed_images_and_the_seed_decide() -> None:
    images = _images(4000, 1, 4, 4)
    changed = (rand_augment(images, 0.5, seeded(1, 4000)) != images).flatten(1).any(1)
    assert 0.3 < float(changed.float().mean()) < 0.5  # some operations leave some images as they are
    again = rand_augment(images, 0.5, seeded(1, len(images)))
    assert torch.equal((again != images).flatten(1).any(1), changed)
    assert torch.equal(rand_augment(images, 0.0, seeded(1, 4000)), images)
    torch.manual_seed(0)
    state = torch.get_rng_state()
    rand_augment(images[:50], 1.0, seeded(1, 50))
    assert torch.equal(torch.get_rng_state(), state)


def test_the_kinds_are_applied_in_turn() -> None:
    images = _images(30)
    augmentation = Augmentation(crop=2, flip=True, rand_augment=0.5)
    found = augment_batch(images, augmentation, seeded(2, 30))
    draws = seeded(2, 30)
    step_by_step = rand_augment(random_crop(random_flip(images, draws), 2, draws), 0.5, draws)
    assert torch.equal(found, step_by_step) and not torch.equal(found, images)
    assert augment_batch(images, Augmentation(), draws) is images
    share = slice(10, 25)
    part = augment_batch(images[share], augmentation, Draws(torch.Generator().manual_seed(2), 30, share))
    assert torch.equal(part, found[share])  # whoever holds an image does the same to it


@given(crop=st.integers(0, 3), flip=st.booleans(), seed=st.integers(0, 1000), channels=st.integers(1, 3))
def test_flip_and_crop_against_a_loop_over_images(crop: int, flip: bool, seed: int, channels: int) -> None:
    """The same draws, applied to one image at a time with slices."""
    images = _images(6, channels, 5, 4, seed=7)
    found = augment_batch(images, Augmentation(crop=crop, flip=flip), seeded(seed, 6))
    draws = seeded(seed, 6)
    flips = (draws.uniform() < 0.5).tolist() if flip else [False] * 6
    shifts = [draws.integers(2 * crop + 1).tolist() for _ in range(2)] if crop else [[0] * 6] * 2
    for index, image in enumerate(images):
        image = torch.flip(image, [2]) if flips[index] else image
        canvas = torch.zeros(channels, 5 + 2 * crop, 4 + 2 * crop, dtype=torch.uint8)
        canvas[:, crop : crop + 5, crop : crop + 4] = image
        top, left = shifts[0][index], shifts[1][index]
        assert torch.equal(found[index], canvas[:, top : top + 5, left : left + 4])
    assert found.dtype == torch.uint8 and found.shape == images.shape


def test_unusable_images_and_settings_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    draws = seeded(0, 2)
    with pytest.raises(DataError, match=r"1 or 3 channels, got torch\.uint8 with 2"):
        rand_augment(_images(2, 2), 0.5, draws)
    with pytest.raises(DataError, match="uint8 images"):
        rand_augment(_images(2).float(), 0.5, draws)
    for crop, probability in ((-1, 0.0), (0, 1.5), (0, -0.1), (0, float("nan"))):
        with pytest.raises(ConfigError, match="expected >= 0 and 0 to 1"):
            Augmentation(crop=crop, rand_augment=probability)
    monkeypatch.setitem(sys.modules, "torchvision.transforms.v2.functional", None)
    with pytest.raises(MissingDependencyError, match=r"lip-plugin\[train\]"):
        rand_augment(_images(2), 0.5, draws)
