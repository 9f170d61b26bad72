"""Data sets that are read block by block: the report of the whole tensors, with one block alive at a time."""

from __future__ import annotations

import dataclasses
import weakref
from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import lip_plugin as lp
from lip_plugin.data import ImageSet, checked_image_set
from lip_plugin.evaluate import DatasetSummary, EmpiricalAttack, Request, evaluate_images
from lip_plugin.evaluate.blocks import Blocks
from lip_plugin.ranks import Ranks

SHAPE = (1, 4, 4)
EPS = (0.05, 1.0)


@pytest.fixture
def model() -> lp.CertifiedClassifier:
    torch.manual_seed(0)
    features = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16, 6)).eval()
    head = nn.Linear(6, 3).eval()
    with torch.no_grad():  # all classes occur, and their boundaries are near
        head.bias.copy_(-head.weight @ features(torch.rand(100, *SHAPE)).mean(0))
    return lp.wrap(features, head, input_shape=SHAPE)


@pytest.fixture
def images() -> ImageSet:
    generator = np.random.default_rng(0)
    pixels, labels = generator.integers(0, 256, (50, *SHAPE), np.uint8), generator.integers(0, 3, 50)
    return checked_image_set(pixels, labels, name="noise", source="drawn", split="train")


class Seeded(EmpiricalAttack):
    """Random steps of length eps, from its seed alone."""

    name = "seeded"

    def run(self, model: nn.Module, x: Tensor, y: Tensor, *, eps: float, seed: int) -> Tensor:
        step = torch.randn(x.shape, generator=torch.Generator().manual_seed(seed))
        return x + eps * step / step.flatten(1).norm(dim=1)[:, None, None, None]


class OneAtATime(ImageSet):
    """Counts its reads and refuses to read a block while an earlier one is alive."""

    reads: ClassVar[list[int]] = []
    alive: ClassVar[list[weakref.ref[Tensor]]] = []

    def blocks(
        self, size: int, dtype: torch.dtype, *, first: int = 0, step: int = 1
    ) -> Iterator[tuple[Tensor, Tensor]]:
        for start in range(first * size, len(self), step * size):
            assert [block for block in self.alive if block() is not None] == [], "an earlier block is still held"
            part = slice(start, start + size)
            x, y = dataclasses.replace(self, pixels=self.pixels[part], labels=self.labels[part]).tensors(dtype)
            self.alive.append(weakref.ref(x))
            self.reads.append(start)
            yield x, y
            del x, y


@pytest.fixture
def one_at_a_time(images: ImageSet) -> OneAtATime:
    OneAtATime.reads, OneAtATime.alive = [], []
    return OneAtATime(images.pixels, images.labels, images.name, images.source, images.split)


def test_certificates_are_those_of_the_whole_tensor(model: lp.CertifiedClassifier, images: ImageSet) -> None:
    x, y = images.tensors(model.dtype)
    whole = lp.certify(model, x, batch_size=8)
    report = evaluate_images(model, images, Request.of(EPS, batch_size=8))
    for column in ("prediction", "margin", "radius"):
        assert torch.equal(getattr(report.points.certificate, column), getattr(whole, column))
    assert torch.equal(report.points.labels, y)
    classes = len(set(y.tolist()))
    assert report.dataset == DatasetSummary("own images", "", 50, "drawn", classes, of_classes=model.num_classes)
    assert [entry.verified_robust_accuracy for entry in report.eps] == [
        lp.verified_robust_accuracy(whole, y, eps) for eps in EPS
    ]
    given = lp.compare(model, x, y, eps=EPS, attacks=(), batch_size=8)
    assert given.dataset == DatasetSummary("own images", "", 50, "given arrays", classes, of_classes=model.num_classes)
    assert (given.eps, given.clean_accuracy) == (report.eps, report.clean_accuracy)


@pytest.mark.parametrize("skip_certified", [True, False])
def test_a_data_set_and_its_tensors_compare_alike(
    model: lp.CertifiedClassifier, images: ImageSet, skip_certified: bool
) -> None:
    settings: dict[str, Any] = {
        "eps": EPS, "attacks": [Seeded()], "audit": 3, "skip_certified": skip_certified, "batch_size": 8
    }  # fmt: skip
    read = evaluate_images(model, images, Request.of(**settings))
    given = lp.compare(model, *images.tensors(model.dtype), **settings)
    assert torch.equal(read.points.distance, given.points.distance)
    assert bool(torch.isfinite(read.points.distance).any())
    assert (read.eps, read.audit, read.differences, read.points.attack, read.points.status) == (
        given.eps, given.audit, given.differences, given.points.attack, given.points.status
    )  # fmt: skip


@pytest.mark.parametrize("skip_certified", [True, False])
def test_one_block_is_in_memory_at_a_time(
    model: lp.CertifiedClassifier, one_at_a_time: OneAtATime, skip_certified: bool
) -> None:
    request = Request.of(EPS, [Seeded()], audit=2, skip_certified=skip_certified, batch_size=8)
    evaluate_images(model, one_at_a_time, request)
    assert len(one_at_a_time.reads) > 8


def test_blocks_with_nothing_to_attack_are_not_read(model: lp.CertifiedClassifier, one_at_a_time: OneAtATime) -> None:
    """All images but one are labelled wrongly: its block is read once more, the others only to be certified."""
    prediction = lp.certify(model, one_at_a_time.tensors(model.dtype)[0]).prediction.numpy()
    labels = (prediction + 1) % 3
    labels[27] = prediction[27]
    images = dataclasses.replace(one_at_a_time, labels=labels)
    evaluate_images(model, images, Request.of(4.0, [Seeded()], audit=0, batch_size=8))
    looked_at_before_the_proof, *reads = images.reads
    assert looked_at_before_the_proof == 0
    assert reads == [0, 8, 16, 24, 32, 40, 48, 24]


@pytest.mark.parametrize("world", [1, 2, 3, 9])
def test_ranks_tile_the_images(images: ImageSet, world: int) -> None:
    blocks = Blocks(images, 8, torch.float32, Ranks(0, world))
    owned = [position for rank in range(world) for position in blocks.positions(rank).tolist()]
    assert sorted(owned) == list(range(50))
    assert [i for block in range(blocks.count) for i in blocks.span(block)] == list(range(50))
    whole, _ = images.tensors(torch.float32)
    for rank in range(world):
        part = Blocks(images, 8, torch.float32, Ranks(rank, world))
        pixels = [*part.read_own(), whole[:0]]
        assert torch.equal(torch.cat(pixels), whole[part.positions(rank)])
    assert torch.equal(blocks.read(6), whole[48:])


def test_data_that_do_not_keep_their_word_are_refused(model: lp.CertifiedClassifier, images: ImageSet) -> None:
    class Shuffled(ImageSet):
        def blocks(self, *arguments: Any, **settings: Any) -> Iterator[tuple[Tensor, Tensor]]:
            for x, y in super().blocks(*arguments, **settings):
                yield x, y.flip(0)

    class Short(ImageSet):
        def blocks(self, *arguments: Any, **settings: Any) -> Iterator[tuple[Tensor, Tensor]]:
            yield from list(super().blocks(*arguments, **settings))[:3]

    parts = (images.pixels, images.labels, images.name, images.source)
    with pytest.raises(lp.DataError, match="drawn: images 0 to 7 are not the ones its labels announce"):
        evaluate_images(model, Shuffled(*parts), Request.of(EPS, batch_size=8))
    with pytest.raises(lp.DataError, match="drawn: 24 of 50 images could be read"):
        evaluate_images(model, Short(*parts), Request.of(EPS, batch_size=8))


def test_bad_images_are_refused_before_the_proof(
    model: lp.CertifiedClassifier, images: ImageSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lip_plugin.evaluate.evaluation.certify_together", None)
    wide = dataclasses.replace(images, pixels=np.zeros((50, 1, 4, 5), np.uint8))
    with pytest.raises(lp.DataError, match=r"shape \(50, 1, 4, 5\); this model expects \(B, 1, 4, 4\)"):
        evaluate_images(model, wide, Request.of(EPS))
    with pytest.raises(lp.DataError, match="classes 0 to 2"):
        evaluate_images(model, dataclasses.replace(images, labels=images.labels + 1), Request.of(EPS))
    with pytest.raises(lp.DataError, match="drawn has no images"):
        evaluate_images(
            model, dataclasses.replace(images, pixels=images.pixels[:0], labels=images.labels[:0]), Request.of(EPS)
        )
    with pytest.raises(lp.ConfigError, match="batch_size"):
        evaluate_images(model, images, Request.of(EPS, batch_size=0))
