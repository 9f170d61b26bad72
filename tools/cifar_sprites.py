"""CIFAR-10 as lossless WebP, for transfers with a size limit: 95 MiB instead of 176.

usage: python tools/cifar_sprites.py pack DATA_DIR OUT [--parts 3]     OUT/1, OUT/2, ...: about 32 MiB each of three
       python tools/cifar_sprites.py unpack OUT DATA_DIR               its own binary files again, byte for byte
A part holds labels.npy and NNN.webp, columns of 500 images: training images first, test images last.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from PIL import Image

_PER_COLUMN = 500  # WebP allows 16,383 pixels a side
_FILES = (*(f"data_batch_{number}.bin" for number in range(1, 6)), "test_batch.bin")


def pack(source: Path, out: Path, parts: int) -> None:
    from lip_plugin.data import load_images  # not needed, and slow to import, where parts are unpacked
    from lip_plugin.errors import LipPluginError

    try:
        splits = [load_images("cifar10", split, source, workers=0, crop=32, resize=32) for split in ("train", "test")]
    except LipPluginError as error:
        sys.exit(str(error))
    pixels, labels = (np.concatenate([np.asarray(getattr(s, name)) for s in splits]) for name in ("pixels", "labels"))
    images = pixels.transpose(0, 2, 3, 1)
    for number, index in enumerate(np.array_split(np.arange(len(images)), parts), 1):
        folder = out / str(number)
        folder.mkdir(parents=True)
        np.save(folder / "labels.npy", labels[index].astype(np.uint8))
        for column, start in enumerate(range(0, len(index), _PER_COLUMN)):
            rows = np.ascontiguousarray(images[index[start : start + _PER_COLUMN]]).reshape(-1, 32, 3)
            Image.fromarray(rows).save(folder / f"{column:03d}.webp", "WEBP", lossless=True, quality=75, method=4)


def unpack(parts: Path, out: Path) -> None:
    folders = sorted(file.parent for file in parts.glob("*/labels.npy"))
    files = [file for folder in folders for file in sorted(folder.glob("*.webp"))]
    labels = [np.load(folder / "labels.npy") for folder in folders]
    count = sum(map(len, labels))
    columns = [np.asarray(Image.open(file).convert("RGB")).reshape(-1, 32, 32, 3) for file in files]
    if not count or count % len(_FILES) or sum(map(len, columns)) != count:
        sys.exit(f"{parts} has {sum(map(len, columns))} images and {count} labels; expected 60000 of both, all parts")
    pixels = np.concatenate(columns).transpose(0, 3, 1, 2).reshape(count, -1)
    records = np.concatenate([np.concatenate(labels)[:, None].astype(np.uint8), pixels], axis=1)
    out.mkdir(parents=True, exist_ok=True)
    for name, batch in zip(_FILES, np.split(records, len(_FILES)), strict=True):
        (out / name).write_bytes(batch.tobytes())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=("pack", "unpack"))
    parser.add_argument("source", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--parts", type=int, default=3)
    options = parser.parse_args()
    try:
        if options.command == "pack":
            pack(options.source, options.out, options.parts)
        else:
            unpack(options.source, options.out)
    except OSError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
