"""Tiny-ImageNet folders built here: pixels against Pillow's, and a cache that is never wrong."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lip_plugin.data import ImageSet, load_image_set, tiny_imagenet
from lip_plugin.errors import DataError

Image: Any = pytest.importorskip("PIL.Image")
WNIDS = ("n30", "n10", "n20")  # not sorted in the official file either


def _save(path: Path, seed: int, *, grey: bool = False, side: int = 64) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)
    Image.fromarray(pixels[:, :, 0] if grey else pixels).save(path, quality=90)


def _tree(root: Path) -> None:
    for number, wnid in enumerate(WNIDS):
        for index in range(2):
            path = root / "train" / wnid / "images" / f"{wnid}_{index}.JPEG"
            _save(path, 10 * number + index, grey=index == 1)
        (root / "train" / wnid / f"{wnid}_boxes.txt").write_text("x")
    (root / "wnids.txt").write_text("\n".join(WNIDS) + "\n")
    for index in range(3):
        _save(root / "val" / "images" / f"val_{index}.JPEG", 100 + index)
    rows = [("val_2.JPEG", "n20"), ("val_0.JPEG", "n30"), ("val_1.JPEG", "n10")]
    lines = [f"{name}\t{wnid}\t0\t32\t44\t62\n" for name, wnid in rows]
    (root / "val" / "val_annotations.txt").write_text("".join(lines))


def _decoded(path: Path) -> Any:
    return np.asarray(Image.open(path).convert("RGB")).transpose(2, 0, 1)


@pytest.mark.parametrize("folder", [".", "tiny-imagenet-200"])
def test_both_splits_against_pillow(folder: str, tmp_path: Path) -> None:
    root = tmp_path / folder
    _tree(root)
    train = load_image_set("tiny_imagenet", "train", tmp_path)
    assert train.labels.tolist() == [0, 0, 1, 1, 2, 2] and (train.name, train.split) == ("tiny_imagenet", "train")
    for index, wnid in enumerate(np.repeat(sorted(WNIDS), 2).tolist()):
        path = root / "train" / wnid / "images" / f"{wnid}_{index % 2}.JPEG"
        assert np.array_equal(train.pixels[index], _decoded(path))
    grey = train.pixels[1].astype(int)
    assert grey.any() and np.array_equal(grey[0], grey[1]) and np.array_equal(grey[0], grey[2])
    test = load_image_set("tiny_imagenet", "test", tmp_path)
    assert test.labels.tolist() == [1, 2, 0] and test.split == "test"
    assert train.num_classes == test.num_classes == 3
    for index, name in enumerate(("val_2", "val_0", "val_1")):
        assert np.array_equal(test.pixels[index], _decoded(root / "val" / "images" / f"{name}.JPEG"))


def _same(a: ImageSet, b: ImageSet) -> bool:
    return np.array_equal(a.pixels, b.pixels) and np.array_equal(a.labels, b.labels)


class _Decodings:
    """Counts the pictures that are decoded."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        decode = tiny_imagenet.read_rgb

        def counted(path: Path) -> Any:
            self.count += 1
            return decode(path)

        monkeypatch.setattr(tiny_imagenet, "read_rgb", counted)

    def of_a_read(self, directory: Path, split: str = "train") -> tuple[int, ImageSet]:
        before = self.count
        images = load_image_set("tiny_imagenet", split, directory)
        return self.count - before, images


def test_pictures_are_decoded_once_and_again_when_they_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _tree(tmp_path)
    decodings = _Decodings(monkeypatch)
    count, first = decodings.of_a_read(tmp_path)
    again, second = decodings.of_a_read(tmp_path)
    assert (count, again) == (6, 0) and _same(first, second)
    changed = tmp_path / "train" / "n20" / "images" / "n20_0.JPEG"
    _save(changed, 77)
    count, third = decodings.of_a_read(tmp_path)
    assert count == 6 and np.array_equal(third.pixels[2], _decoded(changed)) and not _same(first, third)
    _save(tmp_path / "train" / "n20" / "images" / "n20_9.JPEG", 78)
    assert len(decodings.of_a_read(tmp_path)[1]) == 7
    assert decodings.of_a_read(tmp_path, "test")[0] == 3 and decodings.of_a_read(tmp_path, "test")[0] == 0
    annotations = tmp_path / "val" / "val_annotations.txt"
    annotations.write_text(annotations.read_text().replace("n30", "n10"))
    assert decodings.of_a_read(tmp_path, "test")[1].labels.tolist() == [1, 0, 0]
    assert [entry.name for entry in tmp_path.iterdir() if entry.name.startswith(".lip")] != []
    assert not [entry for entry in tmp_path.rglob("*partial*")]


def test_a_file_of_the_same_size_counts_as_changed(tmp_path: Path) -> None:
    _tree(tmp_path)
    path = tmp_path / "train" / "n10" / "images" / "n10_0.JPEG"
    for value in (10, 200):
        Image.new("RGB", (64, 64), (value,) * 3).save(path, format="BMP")
        os.utime(path, ns=(value, value))
        assert load_image_set("tiny_imagenet", "train", tmp_path).pixels[0].max() == value


def test_damaged_caches_are_decoded_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    _tree(tmp_path)
    decodings = _Decodings(monkeypatch)
    _, first = decodings.of_a_read(tmp_path)
    cache = tmp_path / ".lip_plugin_train"
    flipped = bytearray((cache / "pixels.npy").read_bytes())
    flipped[-1] ^= 1
    key = json.loads((cache / "key.json").read_text())
    labels = (cache / "labels.npy").read_bytes()
    for name, content in (
        ("pixels.npy", bytes(flipped)),
        ("pixels.npy", bytes(flipped[:500])),
        ("pixels.npy", b""),
        ("labels.npy", labels[:-1] + b"\1"),
        ("key.json", b"{"),
        ("key.json", b"[]"),
        ("key.json", json.dumps({"files": key["files"]}).encode()),
    ):
        (cache / name).write_bytes(content)
        with caplog.at_level(logging.WARNING):
            count, images = decodings.of_a_read(tmp_path)
        assert count == 6 and _same(images, first) and "decoding the pictures again" in caplog.text
        caplog.clear()
        assert decodings.of_a_read(tmp_path)[0] == 0


def test_a_cache_that_cannot_be_kept_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _tree(tmp_path)
    _, first = _Decodings(monkeypatch).of_a_read(tmp_path)
    (tmp_path / ".lip_plugin_train" / "key.json").unlink()

    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "save", full)
    assert _same(load_image_set("tiny_imagenet", "train", tmp_path), first)
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # as on a read-only disk
    assert _same(load_image_set("tiny_imagenet", "train", tmp_path), first)


def test_incomplete_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no wnids\.txt .*tiny-imagenet-200"):
        load_image_set("tiny_imagenet", "train", tmp_path)
    _tree(tmp_path)
    annotations = tmp_path / "val" / "val_annotations.txt"
    good = annotations.read_text()
    for content, words in (
        ("val_0.JPEG\tn99\n", "val_0.JPEG n99; expected"),
        ("\n", "no line"),
        ("x\n", "x; expected"),
    ):
        annotations.write_text(content)
        with pytest.raises(DataError, match=words):
            load_image_set("tiny_imagenet", "test", tmp_path)
    annotations.write_text(good + "absent.JPEG\tn10\n")
    with pytest.raises(DataError, match=r"cannot read .*absent\.JPEG: No such file"):
        load_image_set("tiny_imagenet", "test", tmp_path)
    annotations.unlink()
    with pytest.raises(DataError, match=r"val_annotations.*No such file"):
        load_image_set("tiny_imagenet", "test", tmp_path)
    _save(tmp_path / "train" / "n10" / "images" / "n10_0.JPEG", 1, side=32)
    with pytest.raises(DataError, match=r"n10_0\.JPEG is 32x32; expected 64x64"):
        load_image_set("tiny_imagenet", "train", tmp_path)
    (tmp_path / "wnids.txt").write_text("n10\nn50\n")
    with pytest.raises(DataError, match=r"no pictures in .*n50.images"):
        load_image_set("tiny_imagenet", "train", tmp_path)
    (tmp_path / "wnids.txt").write_text("n10\nn10\n")
    with pytest.raises(DataError, match=r"wnids\.txt names a class twice"):
        load_image_set("tiny_imagenet", "train", tmp_path)
