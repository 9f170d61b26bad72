"""Where the two files lie: links that lead out, files that are none, and nothing is fetched."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import lip_plugin as lp
from lip_plugin.zoo import registry

Refused = Callable[..., str]
FILES = ["card.json", "model.safetensors"]


def _replaced(path: Path) -> Path:
    """The file put beside its directory; its place is free."""
    outside = path.parent.parent / f"outside-{path.name}"
    shutil.move(path, outside)
    return outside


@pytest.mark.parametrize("name", FILES)
def test_a_link_out_of_the_directory_is_refused(name: str, forge: Any, refused: Refused) -> None:
    """Also where what it leads to would fit: the receiver's other files are nobody's to read."""
    path: Path = forge.directory / name
    outside = _replaced(path)
    for target in (outside, Path("..") / outside.name, Path("/etc/passwd"), Path("/dev/zero")):
        path.unlink(missing_ok=True)
        path.symlink_to(target)
        refused(forge.directory, name, "is a link out of its directory")


@pytest.mark.parametrize("name", FILES)
def test_a_chain_of_links_out_is_refused(name: str, forge: Any, refused: Refused) -> None:
    path: Path = forge.directory / name
    (forge.directory / "inner").symlink_to(_replaced(path))
    path.symlink_to("inner")
    refused(forge.directory, "is a link out of its directory")


@pytest.mark.parametrize("name", FILES)
def test_a_linked_folder_out_is_refused(name: str, forge: Any, refused: Refused) -> None:
    path: Path = forge.directory / name
    outside = _replaced(path)
    (forge.directory / "folder").symlink_to(outside.parent)
    path.symlink_to(Path("folder") / outside.name)
    refused(forge.directory, "is a link out of its directory")


@pytest.mark.parametrize("name", FILES)
def test_links_that_lead_nowhere_are_refused(name: str, forge: Any, refused: Refused) -> None:
    path: Path = forge.directory / name
    path.unlink()
    path.symlink_to(path.name)
    refused(forge.directory, name)
    path.unlink()
    path.symlink_to("missing")
    refused(forge.directory, name)


@pytest.mark.parametrize("name", FILES)
def test_links_within_the_directory_and_to_it_are_followed(name: str, forge: Any, tmp_path: Path) -> None:
    digest = lp.load_model(forge.directory).digest
    path: Path = forge.directory / name
    shutil.move(path, forge.directory / "blob")
    path.symlink_to("blob")
    (tmp_path / "alias").symlink_to(forge.directory)
    assert lp.load_model(forge.directory).digest == lp.load_model(tmp_path / "alias").digest == digest


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("kind", ["directory", "fifo", "socket"])
def test_what_is_no_file_is_refused_without_waiting(
    kind: str, name: str, forge: Any, refused: Refused, monkeypatch: pytest.MonkeyPatch
) -> None:
    path: Path = forge.directory / name
    path.unlink()
    if kind == "directory":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    else:
        monkeypatch.chdir(forge.directory)  # the path of a socket is short
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(name)
    refused(forge.directory, name, "expected a regular file")


@pytest.mark.parametrize("name", ["", ".", "..", "model\0.x", "no/such/place", "/dev/null", "/proc/self/environ"])
def test_directories_that_are_none(name: str, refused: Refused) -> None:
    refused(Path(name))


def test_files_beside_the_two_are_never_opened(forge: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python beside a model is not imported, whatever its name."""
    for name in ("__init__.py", "conftest.py", "model.py", "card.py", "sitecustomize.py", "safetensors.py"):
        (forge.directory / name).write_text("raise SystemExit('imported')")
    monkeypatch.chdir(forge.directory)
    lp.load_model(forge.directory)
    lp.load_model(".")


def test_nothing_is_fetched(forge: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A card full of addresses opens no connection."""

    def refuse(*arguments: object) -> None:
        raise AssertionError(f"a connection was opened: {arguments}")

    monkeypatch.setattr(registry, "_registered", {})
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    address = "http://127.0.0.1:9/model.safetensors"
    forge.card.update(link=address, paper=address, bibtex=address, reported={"source": address}, licence=address)
    model = lp.load_model(forge.write())
    lp.register_model(forge.directory, replace=True)
    assert lp.load_model(forge.directory).digest == model.digest
    with pytest.raises(lp.ConfigError, match="not encrypted"):
        lp.load_model(address)
