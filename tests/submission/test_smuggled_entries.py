"""Zip files in a bundle that hold more than what is compared: another reader would see something else in them."""

from __future__ import annotations

import io
import json
import struct
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lip_plugin.submission.write import write_bundle
from lip_plugin.verification import verify_bundle

from .conftest import Made
from .forging import edit_json, rehash

Lip = Callable[..., Any]
Entries = Sequence[tuple[str, bytes]]
_DIRECTORY, _END = b"PK\x01\x02", b"PK\x05\x06"


@pytest.fixture
def whole(made: Made, tmp_path: Path) -> Path:
    """A bundle with its images."""
    directory = tmp_path / "whole"
    write_bundle(made.submission, made.perturbations, made.images, directory, include_images=True)
    return directory


def entries_of(content: bytes) -> list[tuple[str, bytes]]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return [(entry.filename, archive.read(entry)) for entry in archive.infolist()]


def zipped(entries: Entries, comment: bytes = b"") -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, inner in entries:
            record = zipfile.ZipInfo(name)
            record.comment = comment
            archive.writestr(record, inner)
    return content.getvalue()


def npy(array: np.ndarray[Any, Any]) -> bytes:
    content = io.BytesIO()
    np.save(content, array)
    return content.getvalue()


def headed(text: str) -> bytes:
    """An array of which there is no more than the header."""
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode()


def moved(content: bytes, at: int, inserted: bytes) -> bytes:
    """With bytes that no entry of the directory leads to; the offsets of what follows are made to fit."""
    start = content.index(_DIRECTORY)
    directory = bytearray(content[start:])
    position = 0
    while directory.startswith(_DIRECTORY, position):
        (offset,) = struct.unpack_from("<I", directory, position + 42)
        if offset >= at:
            struct.pack_into("<I", directory, position + 42, offset + len(inserted))
        position += 46 + sum(struct.unpack_from("<HHH", directory, position + 28))
    struct.pack_into("<I", directory, directory.index(_END) + 16, start + len(inserted))
    return content[:at] + inserted + content[at:start] + bytes(directory)


def another_x_first(entries: Entries) -> bytes:
    """Who reads from the front finds black images, who reads the directory the ones that are certified."""
    content = zipped([(name, bytes(len(inner))) for name, inner in entries])
    return moved(zipped(entries), 0, content[: content.index(_DIRECTORY)])


FORGED: dict[str, tuple[Callable[[Entries], bytes], str]] = {
    "x beside x.npy": (lambda entries: zipped([("x", dict(entries)["x.npy"]), *entries]), "expected 'x.npy', 'y.npy'"),
    "x alone": (lambda entries: zipped([(n.removesuffix(".npy"), inner) for n, inner in entries]), "expected 'x.npy'"),
    "another x first": (another_x_first, "between the entries"),
    "words before the directory": (
        lambda entries: moved(zipped(entries), zipped(entries).index(_DIRECTORY), b"99 %"),
        "between the entries",
    ),
    "words in the directory": (lambda entries: zipped(entries, b"99 %"), "between the entries"),
    "a header for a parser": (lambda entries: zipped([("x.npy", headed("-" * 9000 + "1")), entries[1]]), "header of"),
    "a header that does not end": (lambda entries: zipped([("x.npy", headed("(" * 900)), entries[1]]), "multi-line"),
    "a deep header": (lambda entries: zipped([("x.npy", headed("-" * 900 + "1")), entries[1]]), "cannot be read"),
    "a shape beyond integers": (
        lambda entries: zipped(
            [("x.npy", headed(f"{{'descr':'|u1','fortran_order':False,'shape':(0,{10**30},)}}")), entries[1]]
        ),
        "cannot be read",
    ),
}


@pytest.mark.parametrize("name", FORGED)
@pytest.mark.parametrize("given", [False, True])
def test_images_hold_nothing_else(lip: Lip, whole: Path, data_file: Path, name: str, given: bool) -> None:
    forge, named = FORGED[name]
    path = whole / "images.npz"
    path.write_bytes(forge(entries_of(path.read_bytes())))
    rehash(whole)
    outcome = lip("verify", whole, *(["--data", data_file] if given else []))
    assert outcome.code == 1
    assert outcome.err.startswith("lip: images.npz: images")
    assert named in outcome.err


def test_compressed_images_are_not_what_is_written(lip: Lip, whole: Path) -> None:
    """A stream of deflate may go on behind what it unpacks to."""
    path = whole / "images.npz"
    with np.load(path) as arrays:
        np.savez_compressed(path, **dict(arrays))
    rehash(whole)
    outcome = lip("verify", whole)
    assert (outcome.code, "compressed entries" in outcome.err) == (1, True)


@pytest.mark.parametrize("entry", ["data.pkl", "version", ".data/serialization_id"])
def test_weights_hold_no_words(lip: Lip, bundle: Path, data_file: Path, entry: str) -> None:
    """Behind the end of the pickle, and in what torch writes beside its tensors and hardly reads."""
    (path,) = (bundle / "robustbench").glob("*.pt")
    entries = entries_of(path.read_bytes())
    path.write_bytes(zipped(entries))
    rehash(bundle)
    assert lip("verify", bundle, "--data", data_file).code == 0
    words = b"\ncertified: 99 % at 0.5" * 9
    path.write_bytes(zipped([(n, inner + words if n == f"archive/{entry}" else inner) for n, inner in entries]))
    rehash(bundle)
    outcome = lip("verify", bundle, "--data", data_file)
    assert outcome.code == 1
    assert f"robustbench/{path.name}: " in outcome.err


def test_adversarial_images_that_are_listed_and_missing(bundle: Path, data_file: Path, lip: Lip) -> None:
    record = {"sha256": "0" * 64, "bytes": 5}
    edit_json(bundle / "bundle.json", lambda manifest: manifest["files"].update({"robustbench/x_adv.pt": record}))
    outcome = lip("verify", bundle, "--data", data_file, "--json")
    assert outcome.code == 1
    assert json.loads(outcome.out)["verdict"] == "differs"
    assert outcome.err.startswith(
        "lip: robustbench/x_adv.pt: presence: claimed listed in bundle.json, measured missing"
    )


def test_an_honest_bundle_with_its_images(whole: Path) -> None:
    assert not verify_bundle(whole).failures
