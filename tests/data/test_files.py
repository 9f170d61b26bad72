"""idx and CIFAR-10 files built here byte by byte, damaged ones, and pickles that try to run code."""

from __future__ import annotations

import gzip
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lip_plugin.data import ImageSet, load_image_set
from lip_plugin.errors import DataError

PIXELS = np.random.default_rng(0).integers(0, 256, (3, 4, 5), dtype=np.uint8)
LABELS = np.array([7, 0, 9], np.uint8)
STEMS = ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")


def _idx(array: Any, kind: int = 8) -> bytes:
    """LeCun's format: two zero bytes, the type, the number of dimensions, big-endian sizes, the entries."""
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, kind, array.ndim, *array.shape) + array.tobytes()


def _write_idx(directory: Path, images: bytes, labels: bytes, ending: str = "") -> None:
    directory.mkdir(parents=True, exist_ok=True)
    for stem, content in zip(STEMS, (images, labels), strict=True):
        (directory / f"{stem}{ending}").write_bytes(gzip.compress(content) if ending else content)


@pytest.mark.parametrize("dataset", ["mnist", "fashion_mnist"])
@pytest.mark.parametrize("ending", ["", ".gz"])
@pytest.mark.parametrize("torchvision", [False, True])
def test_idx_plain_and_gzip(dataset: str, ending: str, torchvision: bool, tmp_path: Path) -> None:
    folder = {"mnist": "MNIST/raw", "fashion_mnist": "FashionMNIST/raw"}[dataset] if torchvision else "."
    _write_idx(tmp_path / folder, _idx(PIXELS), _idx(LABELS), ending)
    images = load_image_set(dataset, "test", tmp_path)
    assert np.array_equal(images.pixels, PIXELS[:, None])
    assert images.labels.tolist() == [7, 0, 9]
    assert (images.name, images.split, images.num_classes) == (dataset, "test", 10)
    with pytest.raises(DataError, match="no train-images-idx3-ubyte"):
        load_image_set(dataset, "train", tmp_path)


DAMAGED: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "not an idx file"),
    "png": (b"\x89PNG\r\n\x1a\n" + bytes(40), "not an idx file"),
    "floats": (_idx(PIXELS, kind=0x0D), "not an idx file"),
    "header only": (_idx(PIXELS)[:4], "truncated"),
    "half a header": (_idx(PIXELS)[:11], "truncated"),
    "one byte short": (_idx(PIXELS)[:-1], "truncated"),
    "one byte more": (_idx(PIXELS) + b"\0", "truncated"),
    "no dimensions": (b"\0\0\x08\0" + b"\1", "truncated"),
    "huge sizes": (struct.pack(">BBBB3I", 0, 0, 8, 3, 2**32 - 1, 2**32 - 1, 2**32 - 1), "truncated"),
    "cut gzip": (gzip.compress(_idx(PIXELS))[:-9], "cannot read"),
    "spoiled gzip": (gzip.compress(_idx(PIXELS))[:20] + b"\xff" * 30, "cannot read"),
    "labels as images": (_idx(LABELS), "expected"),
    "two images": (_idx(PIXELS[:2]), "expected"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_idx_files_are_refused(name: str, tmp_path: Path) -> None:
    content, words = DAMAGED[name]
    _write_idx(tmp_path, content, _idx(LABELS))
    with pytest.raises(DataError, match=words):
        load_image_set("mnist", "test", tmp_path)


def test_missing_idx_files_name_what_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"t10k-images-idx3-ubyte\[\.gz\].*MNIST/raw"):
        load_image_set("mnist", "test", tmp_path)


def test_a_label_beyond_ten_classes_is_refused(tmp_path: Path) -> None:
    _write_idx(tmp_path, _idx(PIXELS), _idx(np.array([7, 0, 10], np.uint8)))
    with pytest.raises(DataError, match="fashion_mnist test split: label 10 is none of 10 classes; expected 0 to 9"):
        load_image_set("fashion_mnist", "test", tmp_path)


# -- CIFAR-10 ---------------------------------------------------------------------------------------

COLOURS = np.random.default_rng(1).integers(0, 256, (10, 3, 32, 32), dtype=np.uint8)
CLASSES = np.array([3, 8, 8, 0, 6, 6, 1, 6, 3, 1])


def _write_binary(folder: Path, per_file: int) -> None:
    """Records of one label byte and 3072 pixel bytes, channel by channel."""
    folder.mkdir(parents=True, exist_ok=True)
    for index, name in enumerate([f"data_batch_{i}.bin" for i in range(1, 6)] + ["test_batch.bin"]):
        part = slice(index % 5 * per_file, (index % 5 + 1) * per_file)
        records = [bytes([label]) + image.tobytes() for label, image in zip(CLASSES[part], COLOURS[part], strict=True)]
        (folder / name).write_bytes(b"".join(records))


def _batch(part: slice, **changes: Any) -> dict[Any, Any]:
    return {
        b"data": COLOURS[part].reshape(-1, 3072),
        b"labels": CLASSES[part].tolist(),
        b"batch_label": b"x",
        **changes,
    }


def _write_python(folder: Path, per_file: int, protocol: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for index, name in enumerate([f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]):
        part = slice(index % 5 * per_file, (index % 5 + 1) * per_file)
        (folder / name).write_bytes(pickle.dumps(_batch(part), protocol=protocol))


def _assert_cifar(directory: Path) -> None:
    train = load_image_set("cifar10", "train", directory)
    assert np.array_equal(train.pixels, COLOURS) and train.labels.tolist() == CLASSES.tolist()
    test = load_image_set("cifar10", "test", directory)
    assert np.array_equal(test.pixels, COLOURS[:2]) and test.labels.tolist() == [3, 8]


@pytest.mark.parametrize("folder", [".", "cifar-10-batches-bin"])
def test_cifar_binary(folder: str, tmp_path: Path) -> None:
    _write_binary(tmp_path / folder, 2)
    _assert_cifar(tmp_path)


@pytest.mark.parametrize("folder", [".", "cifar-10-batches-py"])
@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_cifar_python(folder: str, protocol: int, tmp_path: Path) -> None:
    _write_python(tmp_path / folder, 2, protocol)
    _assert_cifar(tmp_path)


def _python_2_pickle(batch: dict[Any, Any]) -> bytes:
    """As the official archive was written: protocol 2 by Python 2, byte strings, numpy's old module names."""
    pixels = batch[b"data"].tobytes()
    head = b"\x80\x02}(U\x04datacnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85U\x01btR"
    shape = b"(K\x01M" + struct.pack("<H", len(batch[b"data"])) + b"M\x00\x0c\x86"
    kind = b"cnumpy\ndtype\n(U\x02u1K\x00K\x01tR(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89"
    values = b"T" + struct.pack("<i", len(pixels)) + pixels + b"tb"
    labels = b"U\x06labels](" + b"".join(b"K" + bytes([label]) for label in batch[b"labels"]) + b"eu."
    return head + shape + kind + values + labels


def test_cifar_as_python_2_wrote_it(tmp_path: Path) -> None:
    (tmp_path / "test_batch").write_bytes(_python_2_pickle(_batch(slice(0, 2))))
    images = load_image_set("cifar10", "test", tmp_path)
    assert np.array_equal(images.pixels, COLOURS[:2]) and images.labels.tolist() == [3, 8]


class _Runs:
    """A pickle that calls ``function(*arguments)`` when it is read."""

    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


def _refused(tmp_path: Path, content: bytes, words: str = "not a CIFAR-10 python batch") -> None:
    (tmp_path / "test_batch").write_bytes(content)
    with pytest.raises(DataError, match=words):
        load_image_set("cifar10", "test", tmp_path)


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_malicious_pickles_are_refused_without_running(protocol: int, tmp_path: Path) -> None:
    mark = tmp_path / "boom"
    for bomb in (
        _Runs(Path.touch, mark),
        _Runs(eval, f"open({str(mark)!r}, 'w')"),
        _Runs(np.save, str(mark), np.zeros(1)),
        _Runs(np.ndarray.tofile, np.zeros(1), str(mark)),
    ):
        _refused(tmp_path, pickle.dumps(_batch(slice(0, 2), labels=bomb), protocol=protocol), "asks for")
    assert not any(entry.name.startswith("boom") for entry in tmp_path.iterdir())


def test_damaged_cifar_files_are_refused(tmp_path: Path) -> None:
    good = pickle.dumps(_batch(slice(0, 2)))
    for content in (b"", b"garbage", good[:-40], pickle.dumps([1, 2]), pickle.dumps({b"data": 1})):
        _refused(tmp_path, content)
    _refused(tmp_path, pickle.dumps(_batch(slice(0, 2), **{"data": np.zeros((2, 100), np.uint8)})))
    for data in (np.full((2, 3072), 300), np.full((2, 3072), 0.5), np.full((2, 3072), -1)):
        _refused(tmp_path, pickle.dumps({b"data": data, b"labels": [0, 1]}))
    _refused(tmp_path, pickle.dumps({**_batch(slice(0, 2)), b"labels": [1]}), "labels")
    (tmp_path / "test_batch").unlink()
    with pytest.raises(DataError, match=r"no test_batch\[\.bin\]"):
        load_image_set("cifar10", "test", tmp_path)
    for size in (0, 3072, 3074):
        (tmp_path / "test_batch.bin").write_bytes(bytes(size))
        with pytest.raises(DataError, match="multiple of 3073"):
            load_image_set("cifar10", "test", tmp_path)


@settings(max_examples=150)
@given(position=st.integers(0, 400), value=st.integers(0, 255), tail=st.booleans(), protocol=st.sampled_from([0, 2, 4]))
def test_any_flipped_byte_gives_images_or_a_data_error(
    position: int, value: int, tail: bool, protocol: int, tmp_path: Path
) -> None:
    content = bytearray(pickle.dumps(_batch(slice(0, 1)), protocol=protocol))
    content[len(content) - 1 - position if tail else position] = value
    (tmp_path / "test_batch").write_bytes(content)
    try:
        images = load_image_set("cifar10", "test", tmp_path)
    except DataError:
        return
    assert isinstance(images, ImageSet) and images.pixels.shape == (1, 3, 32, 32)
