"""Evaluation pictures against Pillow, from folders and shards, by any number of workers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from lip_plugin.data import LabelledImages, PictureSet, PictureSource, load_into_memory
from lip_plugin.data.folders import PictureFolder, scan_folder
from lip_plugin.data.shards import index_shards
from lip_plugin.errors import DataError

Image: Any = pytest.importorskip("PIL.Image")
pytest.importorskip("torchvision")
# From 3.12 on Python warns of forks in a process that has threads, as torch does.
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")


def _set(pictures: PictureSource, workers: int = 0) -> PictureSet:
    return PictureSet(pictures, "some", "twelve pictures", crop=16, resize=18, workers=workers)


def _by_pillow(path: Path) -> Any:
    """Shorter side to 18, the 16 x 16 in the middle, (3, 16, 16) in [0,1]."""
    picture = Image.open(path).convert("RGB")
    short = min(picture.size)
    width, height = (int(18 * side / short) for side in picture.size)
    left, top = round((width - 16) / 2), round((height - 16) / 2)
    pixels = np.asarray(picture.resize((width, height), Image.Resampling.BILINEAR))
    return pixels[top : top + 16, left : left + 16].transpose(2, 0, 1) / 255


def test_blocks_against_pillow(picture_folder: PictureFolder) -> None:
    blocks = list(_set(picture_folder).blocks(5, torch.float64))
    assert [len(y) for _, y in blocks] == [5, 5, 2]
    assert torch.cat([y for _, y in blocks]).tolist() == picture_folder.labels.tolist()
    for index, image in enumerate(torch.cat([x for x, _ in blocks])):
        assert image.shape == (3, 16, 16) and image.dtype == torch.float64
        assert np.abs(image.numpy() - _by_pillow(picture_folder.path(index))).max() <= 1.5 / 255


@pytest.fixture
def shards(
    picture_folder: PictureFolder,
    write_tar: Callable[..., Path],
    shard_files: Callable[..., dict[str, bytes]],
    tmp_path: Path,
) -> PictureSource:
    parts = range(0, 7), range(7, 12)
    paths = [write_tar(tmp_path / f"{part.start}.tar", shard_files(picture_folder, part)) for part in parts]
    return index_shards(paths)


def _pairs(images: LabelledImages, size: int = 5, **part: int) -> list[tuple[Tensor, Tensor]]:
    return list(images.blocks(size, torch.float32, **part))


def _assert_equal(found: list[tuple[Tensor, Tensor]], expected: list[tuple[Tensor, Tensor]]) -> None:
    for (x, y), (expected_x, expected_y) in zip(found, expected, strict=True):
        assert torch.equal(x, expected_x) and torch.equal(y, expected_y)


def test_shards_and_workers_change_no_bit(picture_folder: PictureFolder, shards: PictureSource) -> None:
    expected = _pairs(_set(picture_folder))
    state = torch.get_rng_state()
    for pictures in (picture_folder, shards):
        for workers in (0, 2):
            _assert_equal(_pairs(_set(pictures, workers)), expected)
    assert torch.equal(torch.get_rng_state(), state)


def test_every_second_block_from_the_second_on(shards: PictureSource) -> None:
    blocks = _pairs(_set(shards), 2)
    assert len(blocks) == 6
    for workers in (0, 2):
        _assert_equal(_pairs(_set(shards, workers), 2, first=1, step=2), blocks[1::2])
    assert _pairs(_set(shards), 2, first=6) == []


def test_what_it_says_of_itself(picture_folder: PictureFolder) -> None:
    images: LabelledImages = _set(picture_folder)
    assert (len(images), images.image_shape, images.num_classes) == (12, (3, 16, 16), 3)
    assert (images.name, images.source, images.split) == ("some", "twelve pictures", "test")
    seven = images.first(7)
    assert len(seven) == 7 and seven.labels.tolist() == picture_folder.labels[:7].tolist()
    assert [len(y) for _, y in _pairs(seven)] == [5, 2] and len(seven.first(3)) == 3
    assert images.first(None) is images
    for count in (0, 8):
        with pytest.raises(DataError, match=f"asked for {count} images; twelve pictures has 7"):
            seven.first(count)


def test_pixels_survive_memory(picture_folder: PictureFolder) -> None:
    images = _set(picture_folder)
    memory = load_into_memory(images)
    assert memory.pixels.dtype == np.uint8 and memory.num_classes == 3 and memory.image_shape == (3, 16, 16)
    _assert_equal(_pairs(memory), _pairs(images))


@pytest.mark.parametrize("workers", [0, 1])
def test_a_damaged_picture_is_named_in_one_line(workers: int, write_tar: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    for name in ("0.png", "1.png"):
        Image.new("RGB", (20, 20)).save(tmp_path / "a" / name)
    picture = (tmp_path / "a" / "0.png").read_bytes()
    (tmp_path / "a" / "1.png").write_bytes(picture[:50])
    shard = write_tar(tmp_path / "s.tar", {"0.png": picture, "0.cls": b"0", "1.png": picture[:50], "1.cls": b"0"})
    for pictures, name in ((scan_folder(tmp_path), r".*a/1\.png"), (index_shards([shard]), r"1\.png in .*s\.tar")):
        with pytest.raises(DataError, match=rf"^cannot decode {name}: .*fetch the file again$") as caught:
            _pairs(_set(pictures, workers), 1)
        assert "\n" not in str(caught.value)


def test_impossible_settings_are_refused(picture_folder: PictureFolder) -> None:
    for crop, resize in ((17, 16), (0, 16)):
        with pytest.raises(DataError, match=f"cannot crop {crop} pixels out of {resize}"):
            PictureSet(picture_folder, "n", "s", crop=crop, resize=resize)
    with pytest.raises(DataError, match="-1 worker processes"):
        PictureSet(picture_folder, "n", "s", workers=-1)
