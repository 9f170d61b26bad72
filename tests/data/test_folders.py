"""Class folders against torchvision's ImageFolder, and pictures of several kinds."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lip_plugin.data.classes import Classes
from lip_plugin.data.find import find_folders
from lip_plugin.data.folders import scan_folder
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
    """Suffixes, depth and links too; hidden files, which it would take, are passed over."""
    datasets: Any = pytest.importorskip("torchvision.datasets")
    _tree(tmp_path)
    for name in ("deep/er/1.PGM", "deep/2.tif", "3.webp", "a.JPG", "deeper/4.bmp"):
        _picture(tmp_path / "train" / "n01" / name)
    _picture(tmp_path / "elsewhere" / "5.ppm")
    (tmp_path / "train" / "n03" / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "train" / "n01" / "notes.txt").write_text("no picture")
    (tmp_path / "train" / "n01" / "deep" / "Makefile").write_text("")
    (tmp_path / "train" / "list.csv").write_text("")
    hidden = [tmp_path / "train" / name for name in (".hidden/a.png", "n20/._1.jpg", "n20/.ipynb_checkpoints/1.png")]
    for path in hidden:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"of macOS")
    train, val = find_folders(tmp_path)
    for path in hidden:
        path.unlink()
    (tmp_path / "train" / ".hidden").rmdir()
    for found, split in ((train, "train"), (val, "val")):
        theirs = datasets.ImageFolder(str(tmp_path / split))
        assert [(os.fspath(found.path(i)), int(found.labels[i])) for i in range(len(found))] == theirs.samples
        assert list(found.classes) == theirs.classes == ["n01", "n03", "n20"]
    assert train.manifest.taken == len(train) == 15
    passed_over = {"hidden": 3, "of the kind .txt": 1, "of the kind without a suffix": 1, "beside the class folders": 1}
    assert train.manifest.left_out == passed_over and val.manifest.left_out == {}
    assert "15 pictures, 3 classes by folder names" in train.manifest.in_words
    assert "1 of the kind .txt" in train.manifest.in_words and "left out: nothing" in val.manifest.in_words


@pytest.mark.parametrize("place", [".", "train", "val"])
def test_a_class_list_numbers_the_folders_by_its_lines(place: str, tmp_path: Path) -> None:
    """As it numbers those of shards; a folder is called as a line, or as its first word."""
    _tree(tmp_path)
    _picture(tmp_path / "train" / "great white" / "0.png")
    (tmp_path / place / "classes.txt").write_text("n20 dog\n\nn03 cat\nn02 fish\nn01\ngreat white\n")
    train, val = find_folders(tmp_path)
    assert train.labels.tolist() == [4] + [3] * 3 + [1] * 3 + [0] * 3 and val.labels.tolist() == [3, 1, 0]
    assert train.classes == val.classes == ("n20 dog", "n03 cat", "n02 fish", "n01", "great white")
    assert (train.manifest.numbered_by, train.manifest.left_out) == ("classes.txt", {})
    shutil.rmtree(tmp_path / "val" / "n03")
    assert find_folders(tmp_path)[1].labels.tolist() == [3, 0]  # a part of the classes keeps its numbers
    with pytest.raises(DataError, match=r"not in the list of 2 classes \(a list\): 'n20'"):
        scan_folder(tmp_path / "val", Classes(("n01", "n03"), "a list"))
    with pytest.raises(DataError, match=r"'n01' is the name of classes 0, 1 \(a list\)"):
        scan_folder(tmp_path / "val", Classes(("n01 a", "n01 b", "n20"), "a list"))


def test_a_folder_may_be_called_a_blank(tmp_path: Path) -> None:
    """Its name has no first word."""
    for name in (" ", "a"):
        _picture(tmp_path / name / "0.png")
    found = scan_folder(tmp_path)
    assert (found.classes, found.labels.tolist()) == ((" ", "a"), [0, 1])


def test_folders_with_numbers_for_names(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in map(str, range(11)):
        _picture(tmp_path / name / "0.png")
    assert scan_folder(tmp_path).labels.tolist() == list(range(11))
    (line,) = caplog.messages
    assert "'0', '1', '10', '2' and 7 more" in line and "folder 10 is class 2" in line and "classes.txt" in line
    caplog.clear()
    (tmp_path / "classes.txt").write_text("\n".join(map(str, range(11))))
    assert scan_folder(tmp_path).labels.tolist() == [0, 1, 10, *range(2, 10)] and not caplog.messages
    (tmp_path / "classes.txt").unlink()
    shutil.rmtree(tmp_path / "10")
    scan_folder(tmp_path)
    assert not caplog.messages


def test_a_link_that_leads_back_is_refused(tmp_path: Path) -> None:
    _picture(tmp_path / "a" / "b" / "0.png")
    (tmp_path / "a" / "b" / "up").symlink_to(tmp_path / "a")
    with pytest.raises(DataError, match=r"b/up leads back to .*/a, which holds it; remove the link"):
        scan_folder(tmp_path)


def test_bad_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no folder .*train"):
        find_folders(tmp_path)
    _tree(tmp_path)
    for index in range(5):
        _picture(tmp_path / "val" / f"extra{index}" / "0.png")
    (tmp_path / "train" / "only").mkdir()
    with pytest.raises(DataError, match=r"differ: 'only' only in train, 'extra0', 'extra1'.* and 1 more only in val"):
        find_folders(tmp_path)
    with pytest.raises(DataError, match="only has no pictures"):
        scan_folder(tmp_path / "train")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no class folders"):
        scan_folder(tmp_path / "empty")


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
