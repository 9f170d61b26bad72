"""Shards by Python's tarfile and by the system's tar against the folder they were made of; damaged ones."""

from __future__ import annotations

import bz2
import gzip
import lzma
import multiprocessing
import os
import pickle
import shutil
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lip_plugin.data import tars
from lip_plugin.data.classes import Classes, read_class_names
from lip_plugin.data.folders import PictureFolder
from lip_plugin.data.pictures import PictureSource
from lip_plugin.data.shards import PictureShards, index_shards
from lip_plugin.errors import DataError

GOOD = {"a.jpg": b"picture", "a.cls": b"1", "b.jpg": b"picture", "b.cls": b"0"}


def _assert_same(found: PictureSource, expected: PictureSource) -> None:
    assert len(found) == len(expected) and np.array_equal(found.labels, expected.labels)
    for index in reversed(range(len(expected))):
        assert np.array_equal(found.read(index), expected.read(index))


def test_shards_hold_what_the_folder_holds(
    picture_folder: PictureFolder,
    write_tar: Callable[..., Path],
    shard_files: Callable[..., dict[str, bytes]],
    tmp_path: Path,
) -> None:
    parts = range(0, 5), range(5, 6), range(6, 12)
    paths = [write_tar(tmp_path / f"{i}.tar", shard_files(picture_folder, part)) for i, part in enumerate(parts)]
    shards = index_shards(paths)
    _assert_same(shards, picture_folder)
    assert shards.classes == ("0", "1", "2") and shards.tar_numbers.tolist() == [0] * 5 + [1] + [2] * 6
    assert shards.name(5) == f"class1/04.jpg in {paths[1]}"
    assert index_shards(paths, Classes(("x", "y", "z", "w"), "a list")).classes == ("x", "y", "z", "w")


@pytest.mark.parametrize("format", ["gnu", "pax", "ustar", "v7"])
@pytest.mark.parametrize("whole_folder", [False, True])
def test_shards_by_the_system_tar(
    format: str, whole_folder: bool, picture_folder: PictureFolder, tmp_path: Path
) -> None:
    """Members one by one, and ``tar -cf x.tar folder``, which also writes the directory itself."""
    if shutil.which("tar") is None:
        pytest.skip("no tar program")
    # Names beyond a header's 100 bytes have a header of their own or, in ustar, a second field.
    parts = ("s",) if format == "v7" else ("long" * 20, "name" * 20)
    folder = tmp_path.joinpath(*parts)
    folder.mkdir(parents=True)
    for number in range(len(picture_folder)):
        shutil.copy(picture_folder.path(number), folder / f"{number:02}.jpeg")
        (folder / f"{number:02}.cls").write_text(f"{picture_folder.labels[number]}\n")
        (folder / f"{number:02}.json").write_text("{}")
    names = [parts[0]] if whole_folder else sorted("/".join((*parts, entry)) for entry in os.listdir(folder))
    command = ["tar", f"--format={format}", "--sort=name", "-cf", "shard.tar", *names]
    if subprocess.run(command, cwd=tmp_path, stderr=subprocess.DEVNULL).returncode:
        pytest.skip("this tar is not GNU's")
    _assert_same(index_shards([tmp_path / "shard.tar"]), picture_folder)


def test_keys_end_at_the_first_dot_and_other_members_are_passed_over(
    write_tar: Callable[..., Path], tmp_path: Path
) -> None:
    files = {"x.y/a.PNG": b"1", "x.y/a.Cls": b" 7\n", "x.y/a.seg.png": b"", "x.y/a.json": b"{}", "._a.jpg": b""}
    shards = index_shards([write_tar(tmp_path / "a.tar", {**files, "README": b""})])
    assert shards.labels.tolist() == [7] and shards.name(0).startswith("x.y/a.PNG in ")
    assert shards.classes == tuple("01234567")
    others = {"of the kind .seg.png": 1, "of the kind .json": 1, "hidden or without a suffix": 2}
    assert shards.manifest.taken == 1 and shards.manifest.left_out == others


def test_labels_may_come_before_or_far_from_their_pictures(write_tar: Callable[..., Path], tmp_path: Path) -> None:
    files = {"b.cls": b"3", "a.jpg": b"1", "b.jpg": b"2", "a.cls": b"5"}
    assert index_shards([write_tar(tmp_path / "a.tar", files)]).labels.tolist() == [5, 3]


BAD: dict[str, tuple[dict[str, bytes], str]] = {
    "no class number": ({**GOOD, "c.jpg": b"x"}, r"c\.jpg in .*s\.tar has no c\.cls"),
    "no picture": ({**GOOD, "c.cls": b"0"}, r"c\.cls in .*s\.tar has no picture c \("),
    "two pictures": ({**GOOD, "a.png": b"x"}, r"s\.tar has a\.jpg and a\.png; expected a key once"),
    "other files": ({"a.txt": b""}, r"s\.tar has no pictures"),
    "words": ({**GOOD, "a.cls": b"cat"}, r"a\.cls in .*s\.tar says 'cat'; expected a class number from 0"),
    "negative": ({**GOOD, "a.cls": b"-1"}, "says '-1'"),
    "empty": ({**GOOD, "a.cls": b""}, "says ''"),
    "fraction": ({**GOOD, "a.cls": b"1.0"}, "says '1.0'"),
    "underscore": ({**GOOD, "a.cls": b"1_0"}, "says '1_0'"),
    "bytes": ({**GOOD, "a.cls": b"\xff\n\x00"}, r"says '\\\\xff\\n\\x00'"),
    "huge": ({**GOOD, "a.cls": b"9" * 20}, "expected a class number"),
    "long": ({**GOOD, "a.cls": b" " * 40 + b"1"}, "expected a class number"),
}


@pytest.mark.parametrize("name", BAD)
def test_incomplete_shards_are_refused(name: str, write_tar: Callable[..., Path], tmp_path: Path) -> None:
    files, words = BAD[name]
    _refused(write_tar(tmp_path / "s.tar", files), words)


def _refused(path: Path, words: str) -> None:
    with pytest.raises(DataError, match=words) as caught:
        index_shards([path])
    assert "\n" not in str(caught.value)


def test_a_key_twice_is_refused(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "s.tar", "w:") as archive:
        for name in ("a.jpg", "a.cls", "a.jpg"):
            archive.addfile(tarfile.TarInfo(name))
    _refused(tmp_path / "s.tar", r"has a\.jpg and a\.jpg")


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, b"Z"])
def test_what_is_no_regular_file_is_refused(kind: bytes, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "s.tar", "w:") as archive:
        member = tarfile.TarInfo("a.jpg")
        member.type, member.linkname = kind, "/etc/passwd"
        archive.addfile(member)
    _refused(tmp_path / "s.tar", r"a\.jpg in .*s\.tar is no regular file")


def test_sizes_beyond_the_limit_are_refused(
    write_tar: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a header alone, and negative ones, on which old versions of tarfile run in circles."""
    for size in (256 * 2**20 + 1, -512):
        member = tarfile.TarInfo("a.jpg")
        member.size = size
        (tmp_path / "s.tar").write_bytes(member.tobuf(tarfile.GNU_FORMAT) + bytes(4096))
        with pytest.raises(DataError):
            index_shards([tmp_path / "s.tar"])
    monkeypatch.setattr(tars, "_MEMBER_LIMIT", 6)
    _refused(write_tar(tmp_path / "t.tar", GOOD), r"a\.jpg in .*t\.tar has 7 bytes; expected at most 6")


@pytest.mark.parametrize(("kind", "pack"), [("gzip", gzip.compress), ("bzip2", bz2.compress), ("xz", lzma.compress)])
def test_compressed_shards_are_refused(
    kind: str, pack: Callable[[bytes], bytes], write_tar: Callable[..., Path], tmp_path: Path
) -> None:
    path = write_tar(tmp_path / "s.tar", GOOD)
    path.write_bytes(pack(path.read_bytes()))
    _refused(path, rf"s\.tar is compressed with {kind}; .*unpack it")


def test_truncated_shards_are_refused_wherever_they_end(write_tar: Callable[..., Path], tmp_path: Path) -> None:
    """GOOD takes four headers and four blocks; what follows are the zeros that end an archive."""
    path = write_tar(tmp_path / "s.tar", GOOD)
    content = path.read_bytes()
    for length in (0, 10, 511, 512, 600, 1023, 1024, 1100, 2048, 3500, 4095, 4096, 4500):
        path.write_bytes(content[:length])
        _refused(path, r"s\.tar is (no tar file, or )?truncated|s\.tar is no tar file")
    path.write_bytes(content[:4608])
    assert len(index_shards([path])) == 2


def test_damaged_headers_and_foreign_files_are_refused(write_tar: Callable[..., Path], tmp_path: Path) -> None:
    path = write_tar(tmp_path / "s.tar", GOOD)
    content = bytearray(path.read_bytes())
    content[1024 + 5] ^= 1  # the second header: Python's reader takes it for the end
    path.write_bytes(content)
    _refused(path, "damaged at byte 1024")
    path.write_text("no tar file " * 100)
    _refused(path, r"s\.tar is no tar file")
    _refused(tmp_path, "no regular file")
    _refused(tmp_path / "absent.tar", "cannot read .*absent.tar: No such file")
    with pytest.raises(DataError, match="no shards"):
        index_shards([])


@settings(max_examples=150)
@given(position=st.integers(0, 4607), value=st.integers(0, 255))
def test_any_flipped_byte_gives_shards_or_a_data_error(
    position: int, value: int, write_tar: Callable[..., Path], tmp_path: Path
) -> None:
    path = write_tar(tmp_path / "s.tar", GOOD)
    content = bytearray(path.read_bytes())
    content[position] = value
    path.write_bytes(content)
    try:
        shards = index_shards([path])
    except DataError:
        return
    assert isinstance(shards, PictureShards) and len(shards) in (1, 2)


def test_labels_beyond_the_classes_are_refused(write_tar: Callable[..., Path], tmp_path: Path) -> None:
    path = write_tar(tmp_path / "s.tar", GOOD)
    with pytest.raises(DataError, match=r"a\.jpg in .*s\.tar has label 1; expected 0 to 0, there are 1 classes"):
        index_shards([path], Classes(("only",), "a list"))


def test_a_damaged_picture_is_named(write_tar: Callable[..., Path], tmp_path: Path) -> None:
    path = write_tar(tmp_path / "s.tar", GOOD)
    with pytest.raises(DataError, match=r"^cannot decode b\.jpg in .*s\.tar: no known picture") as caught:
        index_shards([path]).read(1)
    assert "\n" not in str(caught.value)


def test_a_shard_that_has_changed_is_refused(write_tar: Callable[..., Path], tmp_path: Path) -> None:
    path = write_tar(tmp_path / "s.tar", GOOD)
    tar = tars.Tar.at(path)
    path.write_bytes(path.read_bytes() + bytes(512))
    with pytest.raises(DataError, match="has changed since its members were listed"):
        tar.read(512, 7)
    assert tars.Tar.at(path).read(512, 7) == b"picture"
    with pytest.raises(DataError, match=r"ends within 100000 bytes from byte 512 on"):
        tars.Tar.at(path).read(512, 100_000)
    gone = tars.Tar.at(write_tar(tmp_path / "gone.tar", GOOD))
    gone.path.unlink()
    with pytest.raises(DataError, match=r"cannot read .*gone\.tar: No such file"):
        gone.read(512, 7)


def test_more_shards_than_files_are_kept_open(
    write_tar: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for index in range(80):
        write_tar(tmp_path / f"{index:03}.tar", {"a.jpg": b"", "a.cls": str(index).encode()})
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    shards = index_shards(sorted(tmp_path.glob("*.tar")))
    assert shards.labels.tolist() == list(range(80))
    if before:
        assert len(os.listdir("/proc/self/fd")) <= before + 64


def test_another_process_reads_on(
    picture_folder: PictureFolder,
    write_tar: Callable[..., Path],
    shard_files: Callable[..., dict[str, bytes]],
    tmp_path: Path,
) -> None:
    """Pickled, and in a process that was not forked."""
    shards = index_shards([write_tar(tmp_path / "s.tar", shard_files(picture_folder, range(12)))])
    expected = shards.read(3)
    assert np.array_equal(pickle.loads(pickle.dumps(shards)).read(3), expected)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert np.array_equal(pool.apply(shards.read, (3,)), expected)


def test_class_names_keep_their_lines_order(tmp_path: Path) -> None:
    path = tmp_path / "classes.txt"
    path.write_text("tench\n\ngreat white shark\n crane\ncrane\n")
    assert read_class_names(path) == ("tench", "great white shark", "crane", "crane")
    path.write_text("\n")
    with pytest.raises(DataError, match="is empty"):
        read_class_names(path)
    with pytest.raises(DataError, match="No such file"):
        read_class_names(tmp_path / "absent.txt")
