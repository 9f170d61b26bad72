"""The first images, every so many, and samples that anybody can draw again."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from lip_plugin.data import ImageSet
from lip_plugin.data.chosen import Selection, drawn
from lip_plugin.errors import ConfigError, DataError
from lip_plugin.evaluate.given import GivenImages

IMAGES = ImageSet(np.arange(10, dtype=np.uint8)[:, None, None, None], np.arange(10), "ten", "ten images")
GIVEN = GivenImages(torch.arange(10.0)[:, None, None, None] / 255, torch.arange(10))


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, list(range(10))),
        ({"count": 3}, [0, 1, 2]),
        ({"every": 4}, [0, 4, 8]),
        ({"every": 3, "count": 2}, [0, 3]),
        ({"sample": 10, "seed": 5}, list(range(10))),
    ],
)
def test_in_file_order(options: dict[str, Any], expected: list[int]) -> None:
    for images in (IMAGES, GIVEN):
        chosen = Selection(**options).of(images)
        (block,) = chosen.blocks(100, torch.float64)
        assert chosen.labels.tolist() == block[1].tolist() == expected
        assert (block[0].flatten() * 255).round().tolist() == expected


def test_a_sample_is_the_same_everywhere_and_fair() -> None:
    """PCG64 of seed 0 begins with these words (numpy's own reference values), smallest at place 3."""
    words = np.array([11749869230777074271, 4976686463289251617, 755828109848996024, 304881062738325533], np.uint64)
    assert np.array_equal(np.random.PCG64(0).random_raw(4), words)
    assert drawn(1, 4, 0).tolist() == [3] and drawn(3, 4, 0).tolist() == [1, 2, 3]
    assert np.array_equal(Selection(sample=4, seed=1).of(IMAGES).labels, drawn(4, 10, 1))
    counts = np.zeros(10)
    for seed in range(2000):
        index = drawn(3, 10, seed)
        assert len(set(index.tolist())) == 3 and (np.diff(index) > 0).all()
        counts[index] += 1
    assert abs(counts - 600).max() < 5 * (2000 * 0.3 * 0.7) ** 0.5


def test_what_cannot_be_chosen() -> None:
    for other in ({"count": 2}, {"every": 2}):
        with pytest.raises(ConfigError, match="--sample excludes --n and --every"):
            Selection(sample=2, **other)
    with pytest.raises(ConfigError, match="--every 0"):
        Selection(every=0)
    with pytest.raises(ConfigError, match="seed must be an int >= 0, got -1"):
        Selection(seed=-1)
    for sample in (0, 11):
        with pytest.raises(DataError, match=f"a sample of {sample} images; ten images has 10, give 1 to 10"):
            Selection(sample=sample).of(IMAGES)
    with pytest.raises(DataError, match="asked for 4 images; ten images has 3"):
        Selection(every=4, count=4).of(IMAGES)
