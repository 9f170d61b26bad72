"""Smooth pictures of different shapes in class folders, and shards that hold the same files."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lip_plugin.data.folders import PictureFolder, scan_folder

COUNT = 12
WriteTar = Callable[[Path, Mapping[str, bytes]], Path]
ShardFiles = Callable[[PictureFolder, range], dict[str, bytes]]


@pytest.fixture(scope="session")
def picture_folder(tmp_path_factory: pytest.TempPathFactory) -> PictureFolder:
    """Three classes of four pictures; one is grey."""
    image: Any = pytest.importorskip("PIL.Image")
    root = tmp_path_factory.mktemp("pictures")
    generator = np.random.default_rng(0)
    for index in range(COUNT):
        coarse = generator.integers(0, 256, (4, 5, 3), dtype=np.uint8)
        picture = image.fromarray(coarse).resize((40 + 3 * index, 50 - index), image.Resampling.BICUBIC)
        (root / f"class{index % 3}").mkdir(exist_ok=True)
        (picture.convert("L") if index == 4 else picture).save(root / f"class{index % 3}" / f"{index:02}.JPEG")
    return scan_folder(root)


@pytest.fixture(scope="session")
def write_tar() -> WriteTar:
    """write_tar(path, {member: content}): an uncompressed archive by Python's tarfile."""

    def write(path: Path, files: Mapping[str, bytes]) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tarfile.open(path, "w:") as archive:
            for name, content in files.items():
                member = tarfile.TarInfo(name)
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
        return path

    return write


@pytest.fixture(scope="session")
def shard_files() -> ShardFiles:
    """shard_files(folder, numbers): the members of a shard with these pictures of the folder, in order."""

    def files(folder: PictureFolder, numbers: range) -> dict[str, bytes]:
        found: dict[str, bytes] = {}
        for number in numbers:
            path = folder.path(number)
            key = f"{path.parent.name}/{path.stem}"
            found[f"{key}.jpg"] = path.read_bytes()
            found[f"{key}.cls"] = str(folder.labels[number]).encode()
        return found

    return files
