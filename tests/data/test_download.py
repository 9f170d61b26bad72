"""torchvision's downloader on archives that a server on this machine hands out."""

from __future__ import annotations

import gzip
import hashlib
import io
import pickle
import struct
import sys
import tarfile
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lip_plugin.data import load_image_set
from lip_plugin.data.download import download_image_set, downloadable_datasets
from lip_plugin.errors import DataError, MissingDependencyError

PIXELS = np.random.default_rng(3).integers(0, 256, (2, 3, 32, 32), dtype=np.uint8)


def _md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


class _QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "source").mkdir()
    return tmp_path / "source"


@pytest.fixture
def address(source: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Serves the folder ``source`` until the test ends."""
    monkeypatch.setenv("no_proxy", "*")
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_QuietHandler, directory=str(source))) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


def _serve_cifar10(source: Path, address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets: Any = pytest.importorskip("torchvision.datasets")
    batch: dict[str, object] = {"data": PIXELS.reshape(-1, 3072), "labels": [4, 2]}
    files = {name: pickle.dumps(batch) for name in [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]}
    files["batches.meta"] = pickle.dumps({"label_names": list("abcdefghij")})
    archive = source / "cifar-10-python.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    cifar = datasets.CIFAR10
    monkeypatch.setattr(cifar, "url", address + archive.name)
    monkeypatch.setattr(cifar, "tgz_md5", _md5(archive.read_bytes()))
    monkeypatch.setattr(cifar, "train_list", [[f"data_batch_{i}", _md5(files["test_batch"])] for i in range(1, 6)])
    monkeypatch.setattr(cifar, "test_list", [["test_batch", _md5(files["test_batch"])]])
    monkeypatch.setitem(cifar.meta, "md5", _md5(files["batches.meta"]))


def test_cifar10_lands_where_it_is_read(
    source: Path, address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "data"
    _serve_cifar10(source, address, monkeypatch)
    download_image_set("cifar10", target)
    test = load_image_set("cifar10", "test", target)
    assert np.array_equal(test.pixels, PIXELS) and test.labels.tolist() == [4, 2]
    assert np.array_equal(load_image_set("cifar10", "train", target).pixels, np.tile(PIXELS, (5, 1, 1, 1)))


@pytest.mark.parametrize(("dataset", "name"), [("mnist", "MNIST"), ("fashion_mnist", "FashionMNIST")])
def test_idx_files_land_where_they_are_read(
    dataset: str, name: str, source: Path, address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    datasets: Any = pytest.importorskip("torchvision.datasets")
    target = tmp_path / "data"
    resources: list[tuple[str, str]] = []
    for prefix, count in (("train", 3), ("t10k", 2)):
        images = struct.pack(">BBBB3I", 0, 0, 8, 3, count, 28, 28) + bytes(range(28)) * 28 * count
        labels = struct.pack(">BBBBI", 0, 0, 8, 1, count) + bytes(range(count))
        for stem, content in (("images-idx3", images), ("labels-idx1", labels)):
            file = source / f"{prefix}-{stem}-ubyte.gz"
            file.write_bytes(gzip.compress(content))
            resources.append((file.name, _md5(file.read_bytes())))
    monkeypatch.setattr(getattr(datasets, name), "mirrors", [address])
    monkeypatch.setattr(getattr(datasets, name), "resources", resources)
    download_image_set(dataset, target)
    assert load_image_set(dataset, "train", target).labels.tolist() == [0, 1, 2]
    assert load_image_set(dataset, "test", target).pixels[1, 0, 5].tolist() == list(range(28))


def test_a_wrong_checksum_is_one_line(
    source: Path, address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "data"
    _serve_cifar10(source, address, monkeypatch)
    datasets: Any = pytest.importorskip("torchvision.datasets")
    monkeypatch.setattr(datasets.CIFAR10, "tgz_md5", "0" * 32)
    with pytest.raises(DataError, match=r"cannot download cifar10 to .*corrupted") as caught:
        download_image_set("cifar10", target)
    assert "\n" not in str(caught.value)


def test_unknown_names_and_a_missing_library_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match=r"cannot download 'cifar-10'; known: cifar10, .* Did you mean 'cifar10'"):
        download_image_set("cifar-10", tmp_path)
    monkeypatch.setitem(sys.modules, "torchvision", None)
    monkeypatch.setitem(sys.modules, "torchvision.datasets", None)
    for dataset in downloadable_datasets():
        with pytest.raises(MissingDependencyError, match=r"torchvision.*pip install 'lip-plugin\[train\]'"):
            download_image_set(dataset, tmp_path)
    assert not any(tmp_path.iterdir())
