"""Where pictures are looked for: folders, shards in two folders, shards side by side."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lip_plugin.data import PictureSource, find_pictures, load_image_set, load_images
from lip_plugin.data.find import find_val
from lip_plugin.data.folders import PictureFolder
from lip_plugin.data.shards import PictureShards
from lip_plugin.errors import DataError

Labels = dict[str, list[int]]
WriteShards = Callable[..., None]


@pytest.fixture
def write_shards(write_tar: Callable[..., Path]) -> WriteShards:
    """write_shards(root, {"train": [labels], "val": [labels]}, pattern): one shard per label."""

    def write(root: Path, labels: Labels, pattern: str = "{split}/{index}.tar") -> None:
        for split, numbers in labels.items():
            for index, label in enumerate(numbers):
                path = root / pattern.format(split=split, index=index)
                write_tar(path, {f"{index}.jpg": b"", f"{index}.cls": str(label).encode()})

    return write


def _found(root: Path) -> list[list[int]]:
    assert np.array_equal(find_val(root).labels, find_pictures(root)[1].labels)
    return [source.labels.tolist() for source in find_pictures(root)]


@pytest.mark.parametrize(
    "pattern", ["{split}/{index}.tar", "imagenet-{split}-{index}.tar", "x_{split}idation{index}.tar"]
)
def test_shards(pattern: str, write_shards: WriteShards, tmp_path: Path) -> None:
    write_shards(tmp_path, {"train": [2, 0, 4], "val": [1, 3]}, pattern)
    assert _found(tmp_path) == [[2, 0, 4], [1, 3]]
    assert [source.classes for source in find_pictures(tmp_path)] == [tuple("01234")] * 2
    assert find_val(tmp_path).classes == tuple("01234")


@pytest.mark.parametrize("place", [".", "train"])
def test_a_class_list_beside_the_shards(place: str, write_shards: WriteShards, tmp_path: Path) -> None:
    write_shards(tmp_path, {"train": [2, 0], "val": [1]})
    (tmp_path / place / "classes.txt").write_text("d\nc\nb\na\n")
    assert [source.classes for source in find_pictures(tmp_path)] == [("d", "c", "b", "a")] * 2
    assert find_val(tmp_path).classes == ("d", "c", "b", "a")


def test_labels_of_val_lie_within_the_classes_of_train(write_shards: WriteShards, tmp_path: Path) -> None:
    write_shards(tmp_path, {"train": [2, 0], "val": [1, 3]})
    for find in (find_pictures, find_val):
        with pytest.raises(
            DataError, match=r"1\.jpg in .*val.1\.tar has label 3; expected 0 to 2, there are 3 classes"
        ):
            find(tmp_path)


def test_folders(picture_folder: PictureFolder, tmp_path: Path) -> None:
    for split in ("train", "val"):
        shutil.copytree(picture_folder.root, tmp_path / split)
    (tmp_path / "train" / "class0.tar").write_bytes(b"the archive that the folder came in")
    assert _found(tmp_path) == [picture_folder.labels.tolist()] * 2
    assert isinstance(find_val(tmp_path), PictureFolder)
    shutil.rmtree(tmp_path / "val" / "class1")
    with pytest.raises(DataError, match="'class1' only in train"):
        find_pictures(tmp_path)


def test_evaluation_needs_no_training_pictures(
    picture_folder: PictureFolder, write_shards: WriteShards, tmp_path: Path
) -> None:
    shutil.copytree(picture_folder.root, tmp_path / "folders" / "val")
    assert find_val(tmp_path / "folders").classes == picture_folder.classes
    with pytest.raises(DataError, match=r"no folder .*train"):
        find_pictures(tmp_path / "folders")
    write_shards(tmp_path, {"val": [1, 3]})
    assert isinstance(find_val(tmp_path), PictureShards) and find_val(tmp_path).classes == tuple("0123")
    with pytest.raises(DataError, match=r"no train pictures in .*train/<class>/\*, train/\*\.tar and \*train\*\.tar"):
        find_pictures(tmp_path)
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "0.tar").write_bytes(b"no tar file")
    (tmp_path / "val" / "classes.txt").write_text("\n".join("abcdef"))
    assert len(find_val(tmp_path).classes) == 6  # the training shards were not read


def test_what_is_not_there_or_unclear_is_refused(write_shards: WriteShards, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no train pictures in .*; looked for train/<class>"):
        find_pictures(tmp_path)
    with pytest.raises(DataError, match=r"no val pictures in .*; looked for val/<class>"):
        find_val(tmp_path)
    write_shards(tmp_path, {"trainval": [0]}, "{split}.tar")
    with pytest.raises(DataError, match=r"trainval\.tar may belong to train or to val"):
        find_pictures(tmp_path)


def test_imagenet_by_name(write_shards: WriteShards, tmp_path: Path) -> None:
    write_shards(tmp_path, {"train": [2, 0, 4], "val": [1, 3]})
    train, test = (load_images("imagenet", split, tmp_path) for split in ("train", "test"))
    assert train.labels.tolist() == [2, 0, 4] and test.labels.tolist() == [1, 3]
    assert (test.name, test.split, test.num_classes, test.image_shape) == ("imagenet", "test", 5, (3, 224, 224))
    assert test.source == "imagenet val split, shorter side 256, 224x224 in the middle"
    assert load_images("imagenet", "test", tmp_path, crop=64, resize=64).image_shape == (3, 64, 64)
    with pytest.raises(DataError, match="read it block by block with load_images"):
        load_image_set("imagenet", "test", tmp_path)
    with pytest.raises(DataError, match="no split 'val' of imagenet; expected train or test"):
        load_images("imagenet", "val", tmp_path)
    with pytest.raises(DataError, match="Did you mean 'imagenet'"):
        load_images("imagenette", "test", tmp_path)
    with pytest.raises(DataError, match="absent does not exist"):
        load_images("imagenet", "test", tmp_path / "absent")


def test_other_data_sets_come_from_memory(tmp_path: Path) -> None:
    (tmp_path / "test_batch.bin").write_bytes(bytes([7]) + bytes(3072))
    images = load_images("cifar10", "test", tmp_path, crop=8)
    assert (images.num_classes, images.image_shape, images.labels.tolist()) == (10, (3, 32, 32), [7])


def test_both_kinds_are_picture_sources(
    picture_folder: PictureFolder, write_shards: WriteShards, tmp_path: Path
) -> None:
    write_shards(tmp_path, {"train": [0], "val": [0]})
    sources: list[PictureSource] = [picture_folder, *find_pictures(tmp_path)]
    assert [len(source) for source in sources] == [12, 1, 1]
