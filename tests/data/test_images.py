"""What an image set may be, and a user's own .npz files."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lip_plugin.data import checked_image_set, load_image_set, load_npz, load_shipped
from lip_plugin.errors import DataError


def _npz(path: Path, **arrays: Any) -> Path:
    np.savez(path, **arrays)
    return path


def test_uint8_images(tmp_path: Path) -> None:
    pixels = np.arange(2 * 3 * 4 * 4, dtype=np.uint8).reshape(2, 3, 4, 4)
    images = load_npz(_npz(tmp_path / "mine.npz", x=pixels, y=np.array([1, 0], np.int32)))
    x, y = images.tensors(torch.float64)
    assert x.shape == (2, 3, 4, 4)
    assert x[1, 2, 3, 3].item() == 95 / 255
    assert torch.equal((x * 255).round().long(), torch.from_numpy(pixels.astype(np.int64)))
    assert y.tolist() == [1, 0] and y.dtype == torch.int64
    assert (len(images), images.name, images.source) == (2, "mine", "mine.npz")
    assert images.image_shape == (3, 4, 4) and images.num_classes is None


@pytest.mark.parametrize("dtype", ["<f2", "<f4", "<f8", ">f4", ">f8"])
def test_float_images_are_taken_as_they_are(dtype: str, tmp_path: Path) -> None:
    """Either byte order."""
    pixels = (np.arange(18).reshape(2, 3, 3) / 17).astype(dtype)
    x, y = load_npz(_npz(tmp_path / "mine.npz", x=pixels, y=np.array([3, 4], ">i8"))).tensors(torch.float64)
    assert x.shape == (2, 1, 3, 3)  # grey images get their channel
    assert x.flatten().tolist() == [float(value) for value in pixels.flatten()]
    assert y.tolist() == [3, 4]


def test_tensors_do_not_share_the_pixels() -> None:
    images = checked_image_set(np.zeros((1, 1, 2, 2)), np.zeros(1, int), name="n", source="s")
    x, y = images.tensors(torch.float64)
    x += 1
    y += 1
    assert not images.pixels.any() and not images.labels.any()


GOOD = np.zeros((2, 1, 4, 4))
BAD: dict[str, tuple[dict[str, Any], str]] = {
    "NaN": ({"x": np.full((2, 1, 4, 4), np.nan), "y": [0, 1]}, "NaN"),
    "infinite": ({"x": np.full((2, 1, 4, 4), np.inf), "y": [0, 1]}, "infinite"),
    "above 1": ({"x": GOOD + 1.001, "y": [0, 1]}, r"span \[1\.001, 1\.001\]"),
    "below 0": ({"x": GOOD - 1e-9, "y": [0, 1]}, r"expected \[0,1\]"),
    "255 as float": ({"x": GOOD + 255.0, "y": [0, 1]}, "divide by 255"),
    "int64 pixels": ({"x": GOOD.astype(np.int64), "y": [0, 1]}, "int64; expected uint8"),
    "int8 pixels": ({"x": GOOD.astype(np.int8), "y": [0, 1]}, "int8; expected uint8"),
    "bool pixels": ({"x": GOOD.astype(bool), "y": [0, 1]}, "bool; expected uint8"),
    "complex pixels": ({"x": GOOD.astype(complex), "y": [0, 1]}, "complex128; expected uint8"),
    "long double pixels": ({"x": GOOD.astype(np.longdouble), "y": [0, 1]}, "expected uint8"),
    "text pixels": ({"x": GOOD.astype(str), "y": [0, 1]}, "expected uint8"),
    "flat images": ({"x": GOOD.reshape(2, 16), "y": [0, 1]}, r"shape \(2, 16\)"),
    "one label missing": ({"x": GOOD, "y": [0]}, r"labels \(1,\)"),
    "one-hot labels": ({"x": GOOD, "y": [[0, 1], [1, 0]]}, r"labels \(2, 2\)"),
    "float labels": ({"x": GOOD, "y": [0.0, 1.0]}, "float64; expected integers"),
    "negative label": ({"x": GOOD, "y": [0, -1]}, "negative"),
    "label too large": ({"x": GOOD, "y": np.array([0, 2**64 - 1], np.uint64)}, "negative"),
    "no image": ({"x": GOOD[:0], "y": np.zeros(0, int)}, "N >= 1"),
    "empty images": ({"x": np.zeros((2, 1, 0, 4)), "y": [0, 1]}, r"shape \(2, 1, 0, 4\)"),
    "no labels": ({"x": GOOD}, r"lacks \['y'\]"),
    "other names": ({"images": GOOD, "labels": [0, 1]}, r"lacks \['x', 'y'\]"),
}


@pytest.mark.parametrize("name", BAD)
def test_unusable_arrays_are_refused(name: str, tmp_path: Path) -> None:
    arrays, words = BAD[name]
    with pytest.raises(DataError, match=words):
        load_npz(_npz(tmp_path / "mine.npz", **{key: np.asarray(value) for key, value in arrays.items()}))


class Bomb:
    """Unpickling it would leave a file behind."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_pickled_objects_are_refused_without_running(tmp_path: Path) -> None:
    bombs = np.array([Bomb(tmp_path / "boom")] * 2, dtype=object)
    for arrays in ({"x": bombs, "y": np.zeros(2, int)}, {"x": GOOD, "y": bombs}):
        with pytest.raises(DataError, match="allow_pickle"):
            load_npz(_npz(tmp_path / "mine.npz", **arrays))
    bombs.dump(tmp_path / "pickle.npz")
    with pytest.raises(DataError):
        load_npz(tmp_path / "pickle.npz")
    assert not (tmp_path / "boom").exists()


def test_damaged_and_foreign_files_are_refused(tmp_path: Path) -> None:
    path = _npz(tmp_path / "mine.npz", x=GOOD, y=np.zeros(2, int))
    content = path.read_bytes()
    for length in (0, 10, 200, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:length])
        with pytest.raises(DataError, match="cannot read"):
            load_npz(path)
    np.savez_compressed(path, x=np.random.default_rng(0).random((2, 1, 4, 4)), y=np.zeros(2, int))
    compressed = bytearray(path.read_bytes())
    for position in range(60, len(compressed), 25):
        damaged = bytearray(compressed)
        damaged[position] ^= 255
        path.write_bytes(damaged)
        try:
            load_npz(path)
        except DataError:
            continue
    np.save(tmp_path / "single.npy", GOOD)
    (tmp_path / "text.npz").write_text("x,y\n1,2\n")
    for foreign in ("single.npy", "text.npz", "absent.npz", "."):
        with pytest.raises(DataError, match=r"expected an \.npz with arrays x and y"):
            load_npz(tmp_path / foreign)


def test_an_array_that_claims_more_than_it_has_is_not_allocated(tmp_path: Path) -> None:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": (2**52, 1, 1, 1)})
    with zipfile.ZipFile(tmp_path / "mine.npz", "w") as archive:
        archive.writestr("x.npy", header.getvalue())
        archive.writestr("y.npy", header.getvalue())
    with pytest.raises(DataError, match=rf"x\.npy claims {2**52} bytes of data and has 0; expected"):
        load_npz(tmp_path / "mine.npz")


def test_first_takes_file_order_and_never_more_than_there_is() -> None:
    pixels = np.arange(5, dtype=np.uint8).reshape(5, 1, 1, 1)
    images = checked_image_set(pixels, np.arange(5), name="n", source="five", split="train", num_classes=8)
    assert images.first(None) is images
    three = images.first(3)
    assert three.labels.tolist() == [0, 1, 2] and three.pixels.flatten().tolist() == [0, 1, 2]
    assert (three.name, three.source, three.split, three.num_classes) == ("n", "five", "train", 8)
    assert len(images.first(5)) == 5
    for count in (0, 6, -1):
        with pytest.raises(DataError, match=rf"asked for {count} images; five has 5"):
            images.first(count)


def test_unknown_data_sets_and_directories_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="Did you mean 'cifar10'"):
        load_image_set("cifar-10", "test", tmp_path)
    with pytest.raises(DataError, match="does not exist"):
        load_image_set("cifar10", "test", tmp_path / "absent")
    with pytest.raises(DataError, match="no split 'val' of cifar10; expected train or test"):
        load_image_set("cifar10", "val", tmp_path)


def test_labels_stay_within_the_classes() -> None:
    assert load_shipped("fashion_mnist").num_classes == 10
    pixels = np.zeros((2, 1, 2, 2), np.uint8)
    assert checked_image_set(pixels, np.array([0, 2]), name="n", source="s", num_classes=3).num_classes == 3
    with pytest.raises(DataError, match="s: label 3 is none of 3 classes; expected 0 to 2"):
        checked_image_set(pixels, np.array([0, 3]), name="n", source="s", num_classes=3)
