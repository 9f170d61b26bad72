"""Pictures of folders and shards: the same batches by any workers, against Pillow and torchvision's first API."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from lip_plugin.data.folders import PictureFolder, scan_folder
from lip_plugin.data.pictures import PictureSource
from lip_plugin.data.shards import index_shards
from lip_plugin.errors import ConfigError, DataError
from lip_plugin.ranks import Ranks
from lip_plugin.train.batches import BatchSource, epoch_order
from lip_plugin.train.config import AugmentConfig, PictureConfig
from lip_plugin.train.seeds import Stream, derived_seed
from lip_plugin.train.streaming import StreamedBatches

Image: Any = pytest.importorskip("PIL.Image")
pytest.importorskip("torchvision")

COUNT = 12


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> PictureFolder:
    """Smooth pictures of different shapes in three classes; one is grey."""
    root = tmp_path_factory.mktemp("pictures")
    generator = np.random.default_rng(0)
    for index in range(COUNT):
        coarse = generator.integers(0, 256, (4, 5, 3), dtype=np.uint8)
        picture = Image.fromarray(coarse).resize((40 + 3 * index, 50 - index), Image.Resampling.BICUBIC)
        (root / f"class{index % 3}").mkdir(exist_ok=True)
        (picture.convert("L") if index == 4 else picture).save(root / f"class{index % 3}" / f"{index:02}.JPEG")
    return scan_folder(root)


@pytest.fixture(scope="module")
def shards(folder: PictureFolder, tmp_path_factory: pytest.TempPathFactory) -> PictureSource:
    """The same files in the same order, in two shards."""
    root = tmp_path_factory.mktemp("shards")
    for numbers in (range(0, 5), range(5, COUNT)):
        with tarfile.open(root / f"{numbers.start}.tar", "w:") as archive:
            for number in numbers:
                contents = {"jpg": folder.path(number).read_bytes(), "cls": str(folder.labels[number]).encode()}
                for suffix, content in contents.items():
                    member = tarfile.TarInfo(f"{number}.{suffix}")
                    member.size = len(content)
                    archive.addfile(member, io.BytesIO(content))
    return index_shards(sorted(root.iterdir()))


def _source(
    pictures: PictureSource, *, batch_size: int = 5, workers: int = 0, seed: int = 3, ranks: Ranks | None = None
) -> StreamedBatches:
    sizes = PictureConfig(crop=16, train_resize=(16, 19), test_resize=18, workers=workers)
    augment = AugmentConfig(flip=True, rand_augment=1.0)
    return StreamedBatches(pictures, batch_size=batch_size, sizes=sizes, augment=augment, seed=seed, ranks=ranks)


def _epoch(source: BatchSource, epoch: int, first_step: int = 0) -> tuple[list[Tensor], list[int]]:
    batches = list(source.epoch(epoch, first_step=first_step))
    return [image for x, _ in batches for image in x], [int(label) for _, y in batches for label in y]


def _assert_equal(a: tuple[list[Tensor], list[int]], b: tuple[list[Tensor], list[int]]) -> None:
    assert a[1] == b[1] and all(torch.equal(x, y) for x, y in zip(a[0], b[0], strict=True))


def _trained_by_hand(folder: PictureFolder, number: int, epoch: int) -> tuple[Tensor, int]:
    """The recipe's steps one by one, RandAugment by torchvision's first API, and the draws in their order."""
    functional: Any = pytest.importorskip("torchvision.transforms.v2.functional")
    auto: Any = pytest.importorskip("torchvision.transforms.autoaugment")
    apply: Any = getattr(auto, "_apply_op")  # noqa: B009  a private name of another library
    space: Any = getattr(auto.RandAugment(), "_augmentation_space")  # noqa: B009
    nearest = auto.InterpolationMode.NEAREST
    x = torch.from_numpy(np.array(Image.open(folder.path(number)).convert("RGB"))).permute(2, 0, 1)
    torch.manual_seed(derived_seed(3, Stream.PICTURE, epoch, number))
    size = int(torch.randint(16, 20, ()))
    x = functional.resize(x, [size], antialias=True)
    levels: dict[str, Any] = space(31, tuple(x.shape[1:]))
    for _ in range(2):
        name, (strength, signed) = list(levels.items())[int(torch.randint(len(levels), ()))]
        level = float(strength[9]) if strength.ndim else 0.0
        if signed and bool(torch.rand(()) <= 0.5):
            level = -level
        x = apply(x, name, level, interpolation=nearest, fill=None)
    height, width = x.shape[1:]
    top = int(torch.randint(0, height - 15, ())) if height > 16 else 0
    left = int(torch.randint(0, width - 15, ())) if width > 16 else 0
    x = x[:, top : top + 16, left : left + 16]
    return (x.flip(2) if bool(torch.rand(1) < 0.5) else x).float() / 255, size


def test_training_against_the_first_api(folder: PictureFolder) -> None:
    """The first API rounds colours otherwise: by one level of 255 at most."""
    source = _source(folder)
    files = {(int(label), index) for index, label in enumerate(folder.labels)}
    sizes: set[int] = set()
    for epoch in range(4):
        made = [_trained_by_hand(folder, number, epoch) for number in range(COUNT)]
        images, labels = _epoch(source, epoch)
        used: list[int] = []
        for image, label in zip(images, labels, strict=True):
            matches = [i for i, (expected, _) in enumerate(made) if float((image - expected).abs().max()) < 1.5 / 255]
            assert len(matches) == 1 and (label, matches[0]) in files
            used += matches
            sizes.add(made[matches[0]][1])
        assert len(set(used)) == 10  # two full batches, no picture twice
    assert sizes == {16, 17, 18, 19}  # both ends of the range


def test_an_epoch_depends_on_its_number_and_the_seed_alone(folder: PictureFolder) -> None:
    source = _source(folder)
    torch.manual_seed(1)
    state = torch.get_rng_state()
    in_turn = [_epoch(source, epoch) for epoch in range(3)]
    assert torch.equal(torch.get_rng_state(), state)
    next(source.epoch(0))  # one that is not finished
    torch.manual_seed(2)
    for epoch in (2, 0):
        _assert_equal(_epoch(_source(folder), epoch), in_turn[epoch])
    _assert_equal(_epoch(source, 1), in_turn[1])
    assert not torch.equal(in_turn[0][0][0], in_turn[1][0][0])
    assert not torch.equal(_epoch(_source(folder, seed=4), 0)[0][0], in_turn[0][0][0])


# From 3.12 on Python warns of forks in a process that has threads, as torch does.
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_workers_change_nothing(folder: PictureFolder) -> None:
    alone, shared = _source(folder), _source(folder, workers=2)
    for epoch in (0, 5, 1):
        _assert_equal(_epoch(shared, epoch), _epoch(alone, epoch))
    next(shared.epoch(2))  # one that is not finished
    _assert_equal(_epoch(shared, 3), _epoch(alone, 3))


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
@pytest.mark.parametrize("workers", [0, 2])
def test_shards_give_the_batches_of_the_folder(workers: int, folder: PictureFolder, shards: PictureSource) -> None:
    expected, found = _source(folder), _source(shards, workers=workers)
    for epoch in (0, 4):
        _assert_equal(_epoch(found, epoch), _epoch(expected, epoch))


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
@pytest.mark.parametrize("workers", [0, 2])
def test_an_epoch_can_be_entered_at_any_step(workers: int, shards: PictureSource) -> None:
    images, labels = _epoch(_source(shards), 6)
    source = _source(shards, workers=workers)
    _assert_equal(_epoch(source, 6, first_step=1), (images[5:], labels[5:]))
    assert _epoch(source, 6, first_step=2) == ([], [])
    _assert_equal(_epoch(source, 6), (images, labels))


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_processes_share_every_batch(shards: PictureSource) -> None:
    """Shares side by side are the batch of one process, draws included; each decodes its own pictures only."""
    for world in (2, 3):
        ranked = [Ranks(rank, world) for rank in range(world)]
        alone, *parts = (_source(shards, batch_size=6, workers=rank.rank, ranks=rank) for rank in (Ranks(), *ranked))
        assert all(part.batch_size == 6 and part.steps == alone.steps == 2 for part in parts)
        for epoch, first_step in ((0, 0), (5, 1)):
            rounds = [source.epoch(epoch, first_step=first_step) for source in (alone, *parts)]
            for (x, y), *shares in zip(*rounds, strict=True):
                assert all(len(share[1]) == 6 // world for share in shares)
                assert torch.equal(torch.cat([share[0] for share in shares]), x)
                assert torch.equal(torch.cat([share[1] for share in shares]), y)


def test_shares_that_do_not_fit_are_refused(folder: PictureFolder) -> None:
    with pytest.raises(ConfigError, match="batch_size=5 does not divide by 2 processes"):
        _source(folder, ranks=Ranks(0, 2))


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
@pytest.mark.parametrize("workers", [0, 1])
def test_a_damaged_picture_is_named_in_one_line(workers: int, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    for name in ("0.png", "1.png"):
        Image.new("RGB", (20, 20)).save(tmp_path / "a" / name)
    (tmp_path / "a" / "1.png").write_bytes(b"\x89PNG")
    source = _source(scan_folder(tmp_path), batch_size=2, workers=workers)
    with pytest.raises(DataError, match=r"^cannot decode .*1\.png: .*fetch the file again$") as caught:
        list(source.epoch(0))
    assert "\n" not in str(caught.value)


def test_a_batch_larger_than_the_folder_is_refused(folder: PictureFolder) -> None:
    with pytest.raises(DataError, match="a batch of 13 does not fit 12 images"):
        _source(folder, batch_size=13)


def test_augmentation_is_what_the_config_says(folder: PictureFolder) -> None:
    """Without RandAugment and mirror: a plain crop of the resized picture. At one half: some pictures of each kind."""
    functional: Any = pytest.importorskip("torchvision.transforms.v2.functional")
    sizes = PictureConfig(crop=16, train_resize=(16, 16), test_resize=16, workers=0)

    def batches(augment: AugmentConfig) -> list[Tensor]:
        source = StreamedBatches(folder, batch_size=12, sizes=sizes, augment=augment, seed=1)
        order = epoch_order(COUNT, 1, 0).tolist()
        (x, _), *_ = source.epoch(0)
        return [x[order.index(number)] for number in range(COUNT)]

    plain = batches(AugmentConfig(flip=False, rand_augment=0.0))
    for number, image in enumerate(plain):
        picture = torch.from_numpy(folder.read(number)).permute(2, 0, 1)
        resized = functional.resize(picture, [16], antialias=True).float() / 255
        height, width = resized.shape[1:]
        windows = [resized[:, i : i + 16, j : j + 16] for i in range(height - 15) for j in range(width - 15)]
        assert any(torch.equal(image, window) for window in windows)
    mirrored = batches(AugmentConfig(flip=True, rand_augment=0.0))
    assert 0 < sum(torch.equal(a, b) for a, b in zip(plain, mirrored, strict=True)) < COUNT
    half = batches(AugmentConfig(flip=False, rand_augment=0.5))
    # RandomApply draws first, so crops differ; a picture as high as wide after resizing has one window only.
    assert len(half) == COUNT and any(not torch.equal(a, b) for a, b in zip(plain, half, strict=True))


def test_the_published_sizes_are_the_defaults() -> None:
    assert PictureConfig() == PictureConfig(crop=224, train_resize=(224, 288), test_resize=256)
