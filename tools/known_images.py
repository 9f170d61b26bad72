"""Digests of official test splits, from their official files: what `lip_plugin.data.known` tells images by.

usage:  python tools/known_images.py NAME DATA_DIR            does the file of this package say the same?
        python tools/known_images.py NAME DATA_DIR --write    write that file

NAME is cifar10, cifar100, fashion_mnist, mnist or tiny_imagenet, DATA_DIR what `--data-dir` of `lip certify` takes; of
CIFAR the binary files. The official files are told by sums that others have published: MD5 of the unpacked files for
Fashion-MNIST, MNIST and CIFAR-10 (downloaders of several libraries check them), SHA-256 for CIFAR-100. Of Tiny-ImageNet
only the sum of its archive is published, not of what is in it: its validation pictures are told by the SHA-256 of
val_annotations.txt followed by every picture in the order of its lines, as found in a public copy. Its pixels
are those of libjpeg-turbo, which Pillow's wheels bring.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import sys
from collections.abc import Iterator
from pathlib import Path

from lip_plugin.data import load_image_set
from lip_plugin.data.known import image_digests

FOLDER = Path(__file__).resolve().parent.parent / "lip_plugin" / "data" / "digests"
FILES = {
    "mnist": {
        "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
        "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
    },
    "fashion_mnist": {
        "t10k-images-idx3-ubyte": "8181f5470baa50b63fa0f6fddb340f0a",
        "t10k-labels-idx1-ubyte": "15d484375f8d13e6eb1aabb0c3f46965",
    },
    "cifar10": {"test_batch.bin": "803d5f7f4d78ea53de84dbe85f74fb6d"},
    "cifar100": {"test.bin": "d8b1e6b7b3bee4020055f0699b111f60b1af1e262aeb93a0b659061746f8224a"},
    "tiny_imagenet": {"val_annotations.txt": "39aa8d0f0fe84e5564b35202e3d6eeb587a8438edbd292c22cd0753acbed200e"},
}
"""MD5 or SHA-256, by its length, of what is read."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=FILES)
    parser.add_argument("data_dir", type=Path)
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args()
    for name, published in FILES[given.name].items():
        if (found := _sum(_find(given.data_dir, name), len(published))) != published:
            sys.exit(f"{name} is not the official file: {found}, expected {published}")
    images = load_image_set(given.name, "test", given.data_dir)
    content = b"".join(image_digests(images.pixels, images.labels.tolist()))
    file = FOLDER / f"{given.name}.digests"
    if given.write:
        file.write_bytes(content)
    same = file.read_bytes() == content
    print(f"{file.name}: {len(images)} images, {len(content)} bytes, {'the same' if same else 'OTHER digests'}")
    return 0 if same else 1


def _find(root: Path, name: str) -> Path:
    found = sorted(path for path in root.rglob(f"{name}*") if path.name in (name, f"{name}.gz"))
    if not found:
        sys.exit(f"no {name} below {root}")
    return found[0]


def _sum(path: Path, length: int) -> str:
    digest = hashlib.md5() if length == 32 else hashlib.sha256()
    for content in _contents(path):
        digest.update(content)
    return digest.hexdigest()


def _contents(path: Path) -> Iterator[bytes]:
    """Of the file, unpacked; of a list of pictures, of these too."""
    content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    yield content
    if path.name == "val_annotations.txt":
        for line in content.decode().splitlines():
            yield (path.parent / "images" / line.split()[0]).read_bytes()


if __name__ == "__main__":
    sys.exit(main())
