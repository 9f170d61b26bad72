"""Members of uncompressed tar files, listed once and then read at their offsets in any order."""

from __future__ import annotations

import os
import stat
import tarfile
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from lip_plugin.data.archives import UNREADABLE
from lip_plugin.errors import DataError

_MEMBER_LIMIT = 256 * 2**20
_OPEN_TARS = 64  # per process: far below the usual limit of 1024 files
_COMPRESSED = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstd"}


class Member(NamedTuple):
    """Where the content of a regular file lies, in bytes."""

    name: str
    offset: int
    size: int


@dataclass(frozen=True)
class Tar:
    """A tar file as it was when its members were listed. It holds no open file, so that processes can share it."""

    path: Path
    size: int
    modified_ns: int

    @classmethod
    def at(cls, path: Path) -> Tar:
        """Raises DataError where there is no such file."""
        try:
            facts = path.stat()
        except OSError as error:
            raise DataError(f"cannot read {path}: {error.strerror or error}") from error
        if not stat.S_ISREG(facts.st_mode):  # opening a FIFO would wait for a writer
            raise DataError(f"{path} is no regular file; expected an uncompressed tar file")
        return cls(path, facts.st_size, facts.st_mtime_ns)

    def members(self) -> Iterator[Member]:
        """Every file in it, in the order of the archive; directories are passed over.

        Raises DataError on a compressed, truncated or damaged archive and on links, devices and the like.
        """
        try:
            with self.path.open("rb") as file:
                _refuse_compressed(self.path, file.read(8))
                file.seek(0)
                with tarfile.open(fileobj=file, mode="r:") as archive:
                    kept: list[object] = getattr(archive, "members", [])
                    while (member := archive.next()) is not None:
                        kept.clear()  # else a kilobyte per member piles up
                        if not member.isdir():
                            yield self._checked(member)
                # Python takes a damaged header for the end; only a block of zeros is one.
                file.seek(archive.offset)
                if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
                    raise DataError(f"{self.path} is truncated or damaged at byte {archive.offset}; fetch it again")
        except (*UNREADABLE, tarfile.TarError) as error:
            reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise DataError(f"{self.path} is no tar file, or truncated: {reason}; fetch it again") from error

    def _checked(self, member: tarfile.TarInfo) -> Member:
        if not member.isreg() or member.issparse():
            raise DataError(f"{member.name} in {self.path} is no regular file; write the files themselves, no links")
        if not 0 <= member.size <= _MEMBER_LIMIT:
            raise DataError(f"{member.name} in {self.path} has {member.size} bytes; expected at most {_MEMBER_LIMIT}")
        return Member(member.name, member.offset_data, member.size)

    def read(self, offset: int, size: int) -> bytes:
        """A member's content. Raises DataError, also where the file has changed since it was listed."""
        try:
            content = os.pread(_opened(self).number, size, offset)
        except OSError as error:
            raise DataError(f"cannot read {self.path}: {error.strerror or error}") from error
        if len(content) != size:
            raise DataError(f"{self.path} ends within {size} bytes from byte {offset} on; fetch it again")
        return content


class _Handle:
    """An open file that closes when nothing refers to it any more."""

    def __init__(self, path: Path) -> None:
        self.number = os.open(path, os.O_RDONLY)
        weakref.finalize(self, os.close, self.number)


@lru_cache(maxsize=_OPEN_TARS)
def _opened(tar: Tar) -> _Handle:
    """Opened when a process first reads from it. A forked one may share it: reading at an offset moves nothing."""
    handle = _Handle(tar.path)
    facts = os.fstat(handle.number)
    if (facts.st_size, facts.st_mtime_ns) != (tar.size, tar.modified_ns):
        raise DataError(f"{tar.path} has changed since its members were listed; start again")
    return handle


def _refuse_compressed(path: Path, start: bytes) -> None:
    for mark, kind in _COMPRESSED.items():
        if start.startswith(mark):
            raise DataError(f"{path} is compressed with {kind}; pictures are read in any order, so unpack it to a .tar")
