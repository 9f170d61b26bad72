"""Pictures in WebDataset shards: tar files with ``key.jpg`` (or another picture) and ``key.cls``, its class number."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lip_plugin.data.classes import Classes
from lip_plugin.data.picture_kinds import Levels
from lip_plugin.data.pictures import PICTURE_SUFFIXES, decode_rgb
from lip_plugin.data.tars import Member, Tar
from lip_plugin.errors import DataError
from lip_plugin.schema.report import DataManifest
from lip_plugin.untrusted import printable

logger = logging.getLogger(__name__)

_LABEL_SUFFIX = ".cls"
_LABEL_BYTES = 32
_MOST_CLASSES = 1_000_000


@dataclass(frozen=True)
class PictureShards:
    """Pictures of one split, by shard and then by place in it. Arrays of N that worker processes can share."""

    tars: tuple[Tar, ...]
    tar_numbers: npt.NDArray[np.int32]
    offsets: npt.NDArray[np.int64]
    sizes: npt.NDArray[np.int64]
    names: npt.NDArray[np.bytes_]
    labels: npt.NDArray[np.int64]
    classes: tuple[str, ...]
    manifest: DataManifest

    def __len__(self) -> int:
        return len(self.labels)

    def name(self, index: int) -> str:
        """See `PictureSource`."""
        return f"{os.fsdecode(bytes(self.names[index]))} in {self.tars[self.tar_numbers[index]].path}"

    def read(self, index: int) -> Levels:
        """(H, W, 3) in the order red, green, blue, as deep as it is. Raises DataError, which names both."""
        content = self.tars[self.tar_numbers[index]].read(int(self.offsets[index]), int(self.sizes[index]))
        return decode_rgb(content, self.name(index))


@dataclass(frozen=True)
class _Shard:
    """What one shard holds, in its order."""

    tar: Tar
    offsets: npt.NDArray[np.int64]
    sizes: npt.NDArray[np.int64]
    names: npt.NDArray[np.bytes_]
    labels: npt.NDArray[np.int64]


def index_shards(paths: Sequence[Path], classes: Classes | None = None) -> PictureShards:
    """Read the headers of uncompressed tar files and every class number. Nothing is kept on disk.

    Without ``classes`` they are "0" to the largest label. Raises DataError on anything that is not a
    picture with its class number, other than members of further suffixes, which the manifest counts.
    """
    if not paths:
        raise DataError("no shards; expected at least one uncompressed .tar file")
    logger.info("listing the members of %d shards, a minute or two per million pictures", len(paths))
    left_out: Counter[str] = Counter()
    shards = [_index_shard(path, left_out) for path in paths]
    labels = np.concatenate([shard.labels for shard in shards])
    classes = classes or Classes(tuple(map(str, range(labels.max() + 1))), "the numbers in the shards")
    for shard in shards:
        beyond = np.flatnonzero(shard.labels >= len(classes))
        if len(beyond):
            first = int(beyond[0])
            name = f"{os.fsdecode(bytes(shard.names[first]))} in {shard.tar.path}"
            raise DataError(
                f"{name} has label {shard.labels[first]}; expected 0 to {len(classes) - 1}, "
                f"there are {len(classes)} classes"
            )
    return PictureShards(
        tars=tuple(shard.tar for shard in shards),
        tar_numbers=np.repeat(np.arange(len(shards), dtype=np.int32), [len(shard.labels) for shard in shards]),
        offsets=np.concatenate([shard.offsets for shard in shards]),
        sizes=np.concatenate([shard.sizes for shard in shards]),
        names=np.concatenate([shard.names for shard in shards]),
        labels=labels,
        classes=classes.names,
        manifest=classes.manifest(len(labels), left_out),
    )


def _index_shard(path: Path, left_out: Counter[str]) -> _Shard:
    tar = Tar.at(path)
    pictures: dict[str, Member] = {}
    label_members: dict[str, Member] = {}
    for member in tar.members():
        key, suffix = _split(member.name)
        if suffix not in (*PICTURE_SUFFIXES, _LABEL_SUFFIX):
            left_out[f"of the kind {printable(suffix, longest=20)}" if suffix else "hidden or without a suffix"] += 1
            continue
        found = label_members if suffix == _LABEL_SUFFIX else pictures
        if key in found:
            raise DataError(f"{path} has {found[key].name} and {member.name}; expected a key once in a shard")
        found[key] = member
    _refuse_lonely(path, pictures, label_members)
    names: Any = np.array([os.fsencode(member.name) for member in pictures.values()])
    return _Shard(
        tar=tar,
        offsets=np.array([member.offset for member in pictures.values()], np.int64),
        sizes=np.array([member.size for member in pictures.values()], np.int64),
        names=names,
        labels=np.array([_label(tar, label_members[key]) for key in pictures], np.int64),
    )


def _split(name: str) -> tuple[str, str]:
    """(key, suffix in small letters) at the first dot of the last part, as WebDataset does; hidden files have none."""
    folder, slash, last = name.rpartition("/")
    stem, dot, suffix = last.partition(".")
    return (folder + slash + stem, (dot + suffix).lower()) if stem else (name, "")


def _refuse_lonely(path: Path, pictures: dict[str, Member], labels: dict[str, Member]) -> None:
    for key, member in pictures.items():
        if key not in labels:
            raise DataError(f"{member.name} in {path} has no {key}{_LABEL_SUFFIX} with its class number")
    for key, member in labels.items():
        if key not in pictures:
            raise DataError(f"{member.name} in {path} has no picture {key} ({', '.join(PICTURE_SUFFIXES)})")
    if not pictures:
        raise DataError(f"{path} has no pictures; expected members key.jpg and key{_LABEL_SUFFIX}")


def _label(tar: Tar, member: Member) -> int:
    content = tar.read(member.offset, min(member.size, _LABEL_BYTES)).strip()
    if member.size > _LABEL_BYTES or not content.isdigit() or int(content) >= _MOST_CLASSES:
        shown = content.decode("ascii", "backslashreplace")
        raise DataError(f"{member.name} in {tar.path} says {shown!r}; expected a class number from 0")
    return int(content)
