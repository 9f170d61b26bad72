"""CIFAR-100 files built here byte by byte and read by torchvision's own reader beside ours."""

from __future__ import annotations

import hashlib
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lip_plugin.data import load_image_set
from lip_plugin.errors import DataError

PIXELS = np.random.default_rng(2).integers(0, 256, (5, 3, 32, 32), dtype=np.uint8)
FINE, COARSE = np.array([99, 0, 42, 7, 7]), np.array([13, 4, 9, 19, 0])
PARTS = {"train": slice(0, 3), "test": slice(3, 5)}


def _write_binary(folder: Path) -> None:
    """A record is the coarse label, the fine label and 3072 pixel bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    for split, part in PARTS.items():
        rows = zip(COARSE[part], FINE[part], PIXELS[part], strict=True)
        (folder / f"{split}.bin").write_bytes(b"".join(bytes([c, f]) + image.tobytes() for c, f, image in rows))


def _write_python(folder: Path, *, byte_keys: bool) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for split, part in PARTS.items():
        batch: dict[str, object] = {
            "data": PIXELS[part].reshape(-1, 3072),
            "fine_labels": FINE[part].tolist(),
            "coarse_labels": COARSE[part].tolist(),
        }
        content = {key.encode(): value for key, value in batch.items()} if byte_keys else batch
        (folder / split).write_bytes(pickle.dumps(content, protocol=2))


@pytest.mark.parametrize("folder", [".", "cifar-100-binary"])
def test_binary(folder: str, tmp_path: Path) -> None:
    _write_binary(tmp_path / folder)
    _assert_read(tmp_path)


@pytest.mark.parametrize("folder", [".", "cifar-100-python"])
@pytest.mark.parametrize("byte_keys", [False, True])
def test_python(folder: str, byte_keys: bool, tmp_path: Path) -> None:
    _write_python(tmp_path / folder, byte_keys=byte_keys)
    _assert_read(tmp_path)


def _assert_read(directory: Path) -> None:
    for split, part in PARTS.items():
        images = load_image_set("cifar100", split, directory)
        assert np.array_equal(images.pixels, PIXELS[part]) and images.labels.tolist() == FINE[part].tolist()
        assert (images.name, images.split, images.source) == ("cifar100", split, f"cifar100 {split} split")
        assert images.num_classes == 100


def test_torchvision_reads_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets: Any = pytest.importorskip("torchvision.datasets")
    folder = tmp_path / "cifar-100-python"
    _write_python(folder, byte_keys=False)
    (folder / "meta").write_bytes(pickle.dumps({"fine_label_names": [str(index) for index in range(100)]}))

    def listed(name: str) -> list[str]:
        return [name, hashlib.md5((folder / name).read_bytes()).hexdigest()]

    monkeypatch.setattr(datasets.CIFAR100, "train_list", [listed("train")])
    monkeypatch.setattr(datasets.CIFAR100, "test_list", [listed("test")])
    monkeypatch.setitem(datasets.CIFAR100.meta, "md5", listed("meta")[1])
    for split in PARTS:
        theirs = datasets.CIFAR100(root=str(tmp_path), train=split == "train")
        ours = load_image_set("cifar100", split, tmp_path)
        assert np.array_equal(ours.pixels.transpose(0, 2, 3, 1), theirs.data)
        assert ours.labels.tolist() == theirs.targets


def test_foreign_and_damaged_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no test\[\.bin\] in .*cifar-100-binary and cifar-100-python"):
        load_image_set("cifar100", "test", tmp_path)
    (tmp_path / "test.bin").write_bytes(bytes(3073))  # a record of CIFAR-10
    with pytest.raises(DataError, match="multiple of 3074"):
        load_image_set("cifar100", "test", tmp_path)
    (tmp_path / "test.bin").write_bytes(bytes([19, 100]) + bytes(3072))
    with pytest.raises(DataError, match="label 100 is none of 100 classes; expected 0 to 99"):
        load_image_set("cifar100", "test", tmp_path)
    (tmp_path / "test.bin").unlink()
    (tmp_path / "test").write_bytes(pickle.dumps({b"data": PIXELS.reshape(-1, 3072), b"labels": [1] * 5}))
    with pytest.raises(DataError, match="not a CIFAR-100 python batch: b'fine_labels'"):
        load_image_set("cifar100", "test", tmp_path)


def test_a_label_beyond_ten_classes_is_refused(tmp_path: Path) -> None:
    (tmp_path / "test_batch.bin").write_bytes(bytes([10]) + bytes(3072))
    with pytest.raises(DataError, match="label 10 is none of 10 classes; expected 0 to 9"):
        load_image_set("cifar10", "test", tmp_path)
