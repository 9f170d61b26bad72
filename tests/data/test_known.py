"""What images are told by: the shipped slice by hashes written out here, and images that only look official."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pytest
import torch

from lip_plugin.data import ImageSet, find_dataset, list_datasets, load_shipped
from lip_plugin.data.known import DIGEST_BYTES, official_digests, recognised
from lip_plugin.evaluate.given import GivenImages
from lip_plugin.evaluate.images import summarise_images

SLICE = load_shipped("fashion_mnist")
X, Y = np.asarray(SLICE.pixels, np.uint8), SLICE.labels


def images(pixels: Any, labels: Any = Y, name: str = "fashion_mnist") -> ImageSet:
    return ImageSet(pixels, labels[: len(pixels)], name, f"{name}.npz")


def test_the_shipped_slice_begins_the_official_split() -> None:
    record = find_dataset("fashion_mnist")
    assert record is not None
    official = official_digests(record)
    assert len(official) == 10_000
    for index in range(0, 512, 37):
        whole = hashlib.sha256(X[index].tobytes() + bytes([Y[index], 0])).digest()
        assert official[index] == whole[:DIGEST_BYTES]


@pytest.mark.parametrize("name", [record.name for record in list_datasets() if record.test and record.test.digests])
def test_every_image_of_a_split_has_a_digest_of_its_own(name: str) -> None:
    record = find_dataset(name)
    assert record is not None and record.test is not None
    digests = official_digests(record)
    assert len(digests) == len(set(digests)) == record.test.images
    assert {len(digest) for digest in digests} == {DIGEST_BYTES}


def test_a_part_is_told_whatever_it_is_called() -> None:
    found = summarise_images(images(X[:6], name="noise"))
    classes = len(set(Y[:6].tolist()))
    assert (found.name, found.split, found.of, found.in_order) == ("fashion_mnist", "test", 10_000, True)
    words = f"6 of 10,000 images of fashion_mnist (test), the first in file order, {classes} of 10 classes"
    assert found.in_words == words
    sampled = summarise_images(images(X[1:3], Y[1:3]))
    assert (sampled.of, sampled.in_order) == (10_000, False)
    assert "2 of 10,000 images of fashion_mnist (test), sampled" in sampled.in_words


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_tensors_are_told_too(dtype: torch.dtype) -> None:
    x, y = SLICE.first(300).tensors(dtype)
    found = recognised(GivenImages(x, y))
    assert found is not None and (found.name, found.in_order) == ("fashion_mnist", True)
    nudged = x.clone()
    nudged[299, 0, 14, 14] = torch.nextafter(nudged[299, 0, 14, 14], torch.tensor(0.5, dtype=dtype))
    assert recognised(GivenImages(nudged, y)) is None


def changed(index: int) -> Any:
    pixels = X[:300].copy()
    pixels[index, 0, 3, 3] ^= 1
    return pixels


OTHERS = {
    "noise": (np.random.default_rng(0).integers(0, 256, X[:8].shape, np.uint8), Y),
    "one bit of the last one": (changed(299), Y),
    "another label": (X[:8], (Y + 1) % 10),
    "one of them twice": (X[[0, 1, 2, 0]], Y[[0, 1, 2, 0]]),
    "a part of the picture": (X[:8, :, :24, :24], Y),
    "both exact forms": (np.concatenate([X[:1].astype(np.float32) / np.float32(255), X[1:2] / 255]), Y),
}


@pytest.mark.parametrize("other", OTHERS)
def test_anything_else_is_somebodys_own(other: str) -> None:
    pixels, labels = OTHERS[other]
    found = summarise_images(images(pixels, labels))
    assert (found.name, found.split, found.of, found.is_whole) == ("own images", "", None, False)
    assert found.in_words.startswith(f"{len(pixels)} own images (")


def test_the_whole_split_in_either_order(monkeypatch: pytest.MonkeyPatch) -> None:
    record = find_dataset("fashion_mnist")
    assert record is not None
    begin = b"".join(official_digests(record)[:4])

    def of(name: str) -> bytes:
        return begin

    monkeypatch.setattr("lip_plugin.data.digests._content", of)
    whole, turned = summarise_images(images(X[:4])), summarise_images(images(X[3::-1], Y[3::-1]))
    assert whole.is_whole and whole.in_words == "all 4 images of fashion_mnist (test)"
    assert turned.is_whole and turned.in_words == "all 4 images of fashion_mnist (test), in another order"
    assert summarise_images(images(X[:5])).of is None
