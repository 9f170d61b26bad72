"""Own images by one string: an .npz, class folders, shards."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lip_plugin.data import ImageSet, LabelledImages, load_images
from lip_plugin.data.folders import PictureFolder
from lip_plugin.data.grey import GreyPictures
from lip_plugin.data.own import ImagesSpec, open_images, parse_images
from lip_plugin.data.readers import Cut
from lip_plugin.errors import ConfigError, DataError

Image: Any = pytest.importorskip("PIL.Image")
Grayscale: Any = pytest.importorskip("torchvision.transforms").Grayscale
default_loader: Any = pytest.importorskip("torchvision.datasets.folder").default_loader

CUT = Cut(16, 18)


def _images(text: str, split: str = "test", classes: tuple[str, ...] = (), cut: Cut = CUT) -> LabelledImages:
    spec = parse_images(text)
    assert spec is not None
    return open_images(spec).images(split, cut, classes)


class _One:
    """A source of one picture."""

    labels, classes, manifest = np.zeros(1, np.int64), ("a",), None

    def __init__(self, levels: Any) -> None:
        self._levels = levels

    def __len__(self) -> int:
        return 1

    def name(self, index: int) -> str:
        return "one"

    def read(self, index: int) -> Any:
        return self._levels


def test_what_a_string_names(tmp_path: Path) -> None:
    assert parse_images("cifar10") is None
    assert parse_images("npz:a/b.npz") == ImagesSpec("npz", "a/b.npz")
    assert parse_images("a/b.npz") == ImagesSpec("", "a/b.npz")
    spec = parse_images("folder:/a/b/pics?size=32")
    assert spec == ImagesSpec("folder", "/a/b/pics", {"size": 32})
    assert ImagesSpec("folder", "/a/b/pics", {"size": 32}).shown == "folder:pics?size=32"
    assert ImagesSpec("", "/a/b/a b.npz").shown == "a b.npz"
    (tmp_path / "plain").write_bytes(b"")
    assert parse_images(str(tmp_path / "plain")) == ImagesSpec("", str(tmp_path / "plain"))
    with pytest.raises(DataError, match="is a folder; say what it holds: folder:DIR"):
        parse_images(str(tmp_path))
    with pytest.raises(
        DataError, match=r"no such data set as 'cifr10'.*Did you mean 'cifar10'.*npz:FILE.*train/<class>/"
    ):
        parse_images("cifr10")
    for text, words in (("folder:", "names no place"), ("folder:x?size", "not of the form key=value")):
        with pytest.raises(ConfigError, match=words):
            parse_images(text)
    for text, words in (
        ("folder:x?side=3", "folder: has no setting 'side'; known: size"),
        ("npz:x?a=1", "known: none"),
    ):
        with pytest.raises(ConfigError, match=words):
            _images(text)
    for size in ("0", "big", "1.5", "True"):
        with pytest.raises(ConfigError, match="expected a number of pixels from 1"):
            _images(f"folder:x?size={size}")
    for channels in ("0", "2", "True", "grey"):
        with pytest.raises(ConfigError, match=r"folder: channels=.*expected 1 \(grey\) or 3"):
            _images(f"folder:x?channels={channels}")
    with pytest.raises(DataError, match=r"no folder absent; expected folder:DIR"):
        _images("folder:absent")


def _npz(path: Path, **arrays: Any) -> str:
    np.savez(path, **arrays)
    return f"npz:{path}"


def test_arrays(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (4, 3, 5, 5), np.uint8)
    labels = np.arange(4)
    plain = _images(_npz(tmp_path / "plain.npz", x=pixels, y=labels))
    (block,) = plain.blocks(9, torch.float64)
    assert np.array_equal(block[0].numpy(), pixels / 255) and block[1].tolist() == [0, 1, 2, 3]
    assert plain.source == "plain.npz" and plain.manifest is None
    last = _images(_npz(tmp_path / "last.npz", image=pixels.transpose(0, 2, 3, 1), label=labels))
    assert torch.equal(next(last.blocks(9, torch.float64))[0], block[0])
    both = _npz(tmp_path / "both.npz", x_train=pixels[1:], y_train=labels[1:], x_test=pixels[:1], y_test=labels[:1])
    assert (_images(both).labels.tolist(), _images(both, "train").labels.tolist()) == ([0], [1, 2, 3])
    (tmp_path / "dir").mkdir()
    for split, part in (("train", slice(0, 3)), ("test", slice(3, 4))):
        _npz(tmp_path / "dir" / f"{split}.npz", x=pixels[part], y=labels[part])
    for split, expected in (("train", [0, 1, 2]), ("test", [3])):
        assert _images(f"npz:{tmp_path / 'dir'}", split).labels.tolist() == expected
    with pytest.raises(
        DataError, match=r"lacks \['x_train', 'y_train'\], it holds 'x uint8 \(4, 3, 5, 5\)', 'y int64 "
    ):
        _images(f"npz:{tmp_path / 'plain.npz'}", "train")
    others = _npz(tmp_path / "others.npz", images=pixels, labels=labels)
    with pytest.raises(
        DataError, match=r"'images uint8 \(4, 3, 5, 5\)'.*arrays x and y, or image and label, or x_test"
    ):
        _images(others)
    with zipfile.ZipFile(tmp_path / "others.npz", "a") as archive:
        archive.writestr("readme.txt", "the data of a paper")
    with pytest.raises(DataError, match=r"'labels int64 \(4,\)', 'readme\.txt'; expected an"):
        _images(others)


@pytest.fixture
def splits(picture_folder: PictureFolder, tmp_path: Path) -> Path:
    for split in ("train", "val"):
        shutil.copytree(picture_folder.root, tmp_path / "pics" / split)
    return tmp_path / "pics"


def _pixels(images: LabelledImages) -> torch.Tensor:
    return torch.cat([x for x, _ in images.blocks(5, torch.float64)])


def test_class_folders(picture_folder: PictureFolder, splits: Path, caplog: pytest.LogCaptureFixture) -> None:
    direct, inside = _images(f"folder:{picture_folder.root}"), _images(f"folder:{splits}")
    assert direct.image_shape == (3, 16, 16) and torch.equal(_pixels(direct), _pixels(inside))
    assert direct.labels.tolist() == inside.labels.tolist() == picture_folder.labels.tolist()
    assert direct.manifest is not None and direct.manifest.classes == picture_folder.classes
    assert str(splits) not in inside.source and inside.source.startswith("folder:pics (val), shorter side 18")
    (splits / "val" / "class0" / "notes.txt").write_text("")
    _images(f"folder:{splits}")
    assert any("left out: 1 of the kind .txt" in line for line in caplog.messages)
    (splits / "val").rename(splits / "test")
    assert _images(f"folder:{splits}").source.startswith("folder:pics (test)")
    shutil.rmtree(splits / "test")
    with pytest.raises(DataError, match="has train, and neither test nor val"):
        _images(f"folder:{splits}")


def test_one_size_is_the_same_in_training_and_afterwards(splits: Path) -> None:
    text = f"folder:{splits}?size=20"
    train, test = _images(text, "train"), _images(text)
    assert train.image_shape == test.image_shape == (3, 20, 20)
    assert torch.equal(_pixels(train), _pixels(test))  # the two folders hold the same files


def test_a_network_that_knows_its_classes_numbers_those_of_a_folder(
    picture_folder: PictureFolder, tmp_path: Path
) -> None:
    shutil.copytree(picture_folder.root / "class2", tmp_path / "class2")
    assert set(_images(f"folder:{tmp_path}").labels.tolist()) == {0}
    assert set(_images(f"folder:{tmp_path}", classes=picture_folder.classes).labels.tolist()) == {2}
    with pytest.raises(DataError, match=r"not in the list of 2 classes \(the model's card\): 'class2'"):
        _images(f"folder:{tmp_path}", classes=("class0", "class1"))


@pytest.mark.parametrize("more", ["", "&channels=1"])
def test_a_network_of_one_channel_sees_grey_pictures_as_they_are(tmp_path: Path, more: str) -> None:
    """Grey, a grey palette and equal colours, against Pillow; 16 bits keep their depth."""
    levels = np.random.default_rng(0).integers(0, 256, (7, 7), np.uint8)
    (tmp_path / "a").mkdir()
    for name, picture in {
        "0.png": Image.fromarray(levels),
        "1.bmp": Image.fromarray(levels).convert("P"),
        "2.png": Image.fromarray(levels).convert("RGB"),
    }.items():
        picture.save(tmp_path / "a" / name)
    Image.fromarray(levels.astype(np.uint16) * 256 + 3).save(tmp_path / "a" / "3.png")
    images = _images(f"folder:{tmp_path}?size=7{more}", cut=replace(CUT, channels=1))
    assert images.image_shape == (1, 7, 7) and images.source.endswith("7x7 in the middle, grey")
    *others, deep = _pixels(images)
    for pixels in others:
        assert torch.equal(pixels[0], torch.from_numpy(levels / 255))
    assert torch.equal(deep[0], torch.from_numpy((levels.astype(np.uint16) * 256 + 3) / 65535))


def test_colours_become_grey_only_where_asked(picture_folder: PictureFolder) -> None:
    """As torchvision's loader and Grayscale of the picture, which is Pillow's ``convert("L")``."""
    grey = replace(CUT, channels=1)
    with pytest.raises(DataError, match=r"class0.*is in colours, and the network takes one channel; with channels=1"):
        _pixels(_images(f"folder:{picture_folder.root}", cut=grey))
    assert _images(f"folder:{picture_folder.root}", cut=replace(CUT, channels=4)).image_shape == (3, 16, 16)
    assert _images(f"folder:{picture_folder.root}?channels=3", cut=grey).image_shape == (3, 16, 16)
    source = GreyPictures(picture_folder, convert=True)
    for index in range(len(picture_folder)):
        by_pillow = Grayscale()(default_loader(str(picture_folder.path(index))))
        assert np.array_equal(source.read(index)[:, :, 0], np.array(by_pillow))
    every = np.stack(np.meshgrid(*[np.arange(0, 256, 5, dtype=np.uint8)] * 3), axis=-1).reshape(52 * 52, 52, 3)
    assert np.array_equal(GreyPictures(_One(every), convert=True).read(0)[:, :, 0], Image.fromarray(every).convert("L"))


def test_training_in_grey(splits: Path) -> None:
    train = _images(f"folder:{splits}?size=20&channels=1", "train")
    assert isinstance(train, ImageSet) and train.image_shape == (1, 20, 20)
    assert torch.equal(_pixels(train), _pixels(_images(f"folder:{splits}?size=20&channels=1")))
    with pytest.raises(ConfigError, match=r"give size=S beside channels=1"):
        _images(f"folder:{splits}?channels=1", "train")


def test_own_images_are_loaded_by_the_string_that_commands_take(splits: Path, tmp_path: Path) -> None:
    text = f"folder:{splits}?size=20"
    for split in ("train", "test"):
        loaded = load_images(text, split)
        assert torch.equal(_pixels(loaded), _pixels(_images(text, split))) and loaded.split == split
    assert load_images(f"folder:{splits}", "test", crop=8, resize=9).image_shape == (3, 8, 8)
    classes = ("class9", "class2", "class1", "class0")
    assert load_images(text, "test", class_names=classes).labels.tolist() == [
        3 - label for label in _images(text).labels.tolist()
    ]
    with pytest.raises(DataError, match=r"folder:pics\?size=20 says where its images are; leave data_dir out"):
        load_images(text, "test", tmp_path)
    with pytest.raises(DataError, match=r"no split 'val' of folder:pics.*expected train or test"):
        load_images(text, "val")
    with pytest.raises(DataError, match="data_dir is missing; give the folder that holds the cifar10 files"):
        load_images("cifar10", "test")


def test_shards(
    picture_folder: PictureFolder,
    write_tar: Callable[..., Path],
    shard_files: Callable[..., dict[str, bytes]],
    tmp_path: Path,
) -> None:
    for split in ("train", "val"):
        write_tar(tmp_path / "both" / split / "0.tar", shard_files(picture_folder, range(12)))
    write_tar(tmp_path / "one" / "0.tar", shard_files(picture_folder, range(12)))
    expected = _pixels(_images(f"folder:{picture_folder.root}"))
    for text in (f"shards:{tmp_path / 'both'}", f"shards:{tmp_path / 'one'}"):
        found = _images(text)
        assert torch.equal(_pixels(found), expected) and found.labels.tolist() == picture_folder.labels.tolist()
    assert len(_images(f"shards:{tmp_path / 'both'}", "train")) == 12
