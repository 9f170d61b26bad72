"""Class folders against torchvision's ImageFolder, and pictures of several kinds."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lip_plugin.data.folders import read_classes, scan_folder, scan_splits
from lip_plugin.data.pictures import read_rgb
from lip_plugin.errors import DataError, MissingDependencyError

Image: Any = pytest.importorskip("PIL.Image")
CLASSES = ("n03", "n01", "n20")


def _picture(path: Path, value: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((4, 5, 3), value, np.uint8)).save(path)


def _tree(root: Path) -> None:
    for split, count in (("train", 3), ("val", 1)):
        for name in CLASSES:
            for index in range(count):
                _picture(root / split / name / f"{name}_{10 - index}.{'png' if index else 'JPEG'}")


def test_labels_and_order_are_those_of_torchvision(tmp_path: Path) -> None:
    datasets: Any = pytest.importorskip("torchvision.datasets")
    _tree(tmp_path)
    (tmp_path / "train" / "n01" / "notes.txt").write_text("no picture")
    (tmp_path / "train" / ".hidden").mkdir()
    train, val = scan_splits(tmp_path)
    (tmp_path / "train" / ".hidden").rmdir()
    for found, split in ((train, "train"), (val, "val")):
        theirs = datasets.ImageFolder(str(tmp_path / split))
        assert [(os.fspath(found.path(i)), int(found.labels[i])) for i in range(len(found))] == theirs.samples
        assert list(found.classes) == theirs.classes == ["n01", "n03", "n20"]


def test_a_class_list_keeps_the_numbers_of_the_full_set(tmp_path: Path) -> None:
    _tree(tmp_path)
    (tmp_path / "classes.txt").write_text("n20 dog\n\nn03 cat\nn02 fish\nn01 bird\n")
    assert read_classes(tmp_path / "classes.txt") == ("n01", "n02", "n03", "n20")
    train, val = scan_splits(tmp_path, tmp_path / "classes.txt")
    assert train.labels.tolist() == [0] * 3 + [2] * 3 + [3] * 3 and val.labels.tolist() == [0, 2, 3]
    assert len(train.classes) == 4
    with pytest.raises(DataError, match=r"not in the list of 2 classes: n20"):
        scan_folder(tmp_path / "val", ["n01", "n03"])


def test_bad_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no folder .*train"):
        scan_splits(tmp_path)
    _tree(tmp_path)
    for index in range(5):
        _picture(tmp_path / "val" / f"extra{index}" / "0.png")
    (tmp_path / "train" / "only").mkdir()
    with pytest.raises(DataError, match=r"differ: only only in train, extra0, extra1, extra2 and 2 more only in val"):
        scan_splits(tmp_path)
    with pytest.raises(DataError, match="only has no pictures"):
        scan_folder(tmp_path / "train")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no class folders"):
        scan_folder(tmp_path / "empty")


@pytest.mark.parametrize(
    ("content", "words"), [(b"", "empty"), (b"a\nb\na x\n", "twice"), (b"\xff\xfe", "cannot read")]
)
def test_bad_class_lists_are_refused(content: bytes, words: str, tmp_path: Path) -> None:
    (tmp_path / "classes.txt").write_bytes(content)
    with pytest.raises(DataError, match=words):
        read_classes(tmp_path / "classes.txt")
    with pytest.raises(DataError, match="No such file"):
        read_classes(tmp_path / "absent.txt")


def test_pictures_come_as_red_green_blue(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (3, 4, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "colour.png")
    assert np.array_equal(read_rgb(tmp_path / "colour.png"), pixels)
    Image.fromarray(pixels[:, :, 0]).save(tmp_path / "grey.png")
    assert np.array_equal(read_rgb(tmp_path / "grey.png"), np.repeat(pixels[:, :, :1], 3, 2))
    Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(tmp_path / "red.jpeg", quality=100)
    assert np.abs(read_rgb(tmp_path / "red.jpeg").astype(int) - [255, 0, 0]).max() <= 3


def test_damaged_pictures_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _picture(tmp_path / "a.png")
    _picture(tmp_path / "a.jpeg")
    for name in ("a.png", "a.jpeg"):
        content = (tmp_path / name).read_bytes()
        for bad in (b"", b"text", content[: len(content) // 2]):
            (tmp_path / name).write_bytes(bad)
            with pytest.raises(DataError, match=f"cannot decode .*{name}"):
                read_rgb(tmp_path / name)
    with pytest.raises(DataError, match="No such file"):
        read_rgb(tmp_path / "absent.png")
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    with pytest.raises(MissingDependencyError, match=r"PIL.*lip-plugin\[train\]"):
        read_rgb(tmp_path / "a.png")
