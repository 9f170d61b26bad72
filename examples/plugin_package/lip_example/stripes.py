"""Stripes of four directions, drawn anew whenever they are asked for: a data set without files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lip_plugin.data import Arrays, DataSet, TestSplit
from lip_plugin.data.known import image_digests

SIDE, PERIOD = 16, 8
DIRECTIONS = np.array([(1, 0), (0, 1), (1, 1), (1, -1)])
COUNTS = {"train": 1000, "test": 400}


def read(directory: Path, split: str) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Images uint8 (N, 1, 16, 16) and labels (N,) from 0. Nothing is read: every split has a seed of its own."""
    draw = np.random.default_rng(list(COUNTS).index(split))
    labels = np.arange(COUNTS[split]) % len(DIRECTIONS)
    rows, columns = np.mgrid[:SIDE, :SIDE]
    along = DIRECTIONS[labels] @ np.stack([rows.ravel(), columns.ravel()])
    phase = draw.uniform(0, np.pi, (len(labels), 1))
    waves = 0.5 + 0.12 * np.sin(2 * np.pi * along / PERIOD + phase) + 0.12 * draw.standard_normal(along.shape)
    pixels = np.rint(255 * waves.clip(0, 1)).astype(np.uint8)
    return pixels.reshape(-1, 1, SIDE, SIDE), labels


def _digests() -> bytes:
    """What the test images are known by: others do not pass for them."""
    pixels, labels = read(Path(), "test")
    return b"".join(image_digests(pixels, labels.tolist()))


DATASET = DataSet(
    "example_stripes",
    "Stripes",
    Arrays(read),
    image_shape=(1, SIDE, SIDE),
    num_classes=len(DIRECTIONS),
    class_names=("across", "upright", "falling", "rising"),
    standard_eps=0.5,
    test=TestSplit(images=COUNTS["test"], digests=_digests),
    may_be_shown=True,
    files="nothing: the images are drawn",
)
