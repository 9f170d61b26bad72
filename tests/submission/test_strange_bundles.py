"""Bundles as nobody writes them: no bundle at all, other files than listed, rubbish, hostile names and pickles."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import lip_plugin as lp
from lip_plugin.submission.manifest import file_record
from lip_plugin.verification import verify_bundle

from .forging import edit_json, rehash

Lip = Any


def test_what_is_no_bundle_is_bad_input(lip: Lip, tmp_path: Path, model_dir: Path) -> None:
    for directory in (tmp_path / "missing", tmp_path, model_dir):
        outcome = lip("verify", directory)
        assert outcome.code == 2
        assert "is not a bundle" in outcome.err


def test_a_listed_file_that_no_bundle_has_is_named(lip: Lip, bundle: Path, data_file: Path) -> None:
    (bundle / "install.sh").write_text("echo")
    edit_json(
        bundle / "bundle.json",
        lambda document: document["files"].update({"install.sh": file_record(bundle / "install.sh").model_dump()}),
    )
    outcome = lip("verify", bundle, "--data", data_file)
    assert outcome.code == 1
    assert "install.sh: purpose" in outcome.err


def test_a_bundle_without_its_state_dict_is_not_whole(lip: Lip, bundle: Path, data_file: Path) -> None:
    (path,) = (bundle / "robustbench").glob("*.pt")
    path.unlink()
    edit_json(bundle / "bundle.json", lambda document: document["files"].pop(f"robustbench/{path.name}"))
    assert f"robustbench/{path.name}" in lip("verify", bundle, "--data", data_file).err


def test_a_bundle_that_its_board_would_refuse(lip: Lip, bundle: Path, data_file: Path) -> None:
    """Also where its README is the one of that board."""
    edit_json(bundle / "bundle.json", lambda document: document.update(board="sok"))
    outcome = lip("verify", bundle, "--data", data_file)
    assert outcome.code == 1
    assert "bundle.json: board sok, data set: claimed cifar10 or imagenet, measured own images" in outcome.err
    edit_json(bundle / "bundle.json", lambda document: document.update(board="nobody"))
    assert lip("verify", bundle, "--data", data_file).code == 1


def test_an_unusable_device_is_bad_input(lip: Lip, honest: Path, data_file: Path) -> None:
    assert lip("verify", honest, "--data", data_file, "--device", "nonsense").code == 2


@pytest.mark.parametrize("damage", ["more", "fewer", "link", "folder"])
def test_files_that_are_not_as_listed(lip: Lip, bundle: Path, data_file: Path, damage: str, tmp_path: Path) -> None:
    victim = bundle / "attack.log"
    if damage == "more":
        (bundle / "extra.txt").write_text("more")
    else:
        victim.unlink()
    if damage == "link":
        (tmp_path / "elsewhere").write_text("x")
        victim.symlink_to(tmp_path / "elsewhere")
    if damage == "folder":
        victim.mkdir()
        (victim / "x").write_text("x")
    outcome = lip("verify", bundle, "--data", data_file)
    assert outcome.code == 1
    assert ("extra.txt" if damage == "more" else "attack.log") in outcome.err


@pytest.mark.parametrize("name", ["report/report.json", "report/points.csv", "adversarial.safetensors"])
@pytest.mark.parametrize("content", [b"", b"[]", b"\xff\xfe", b"{" * 10_000, b"\x1b[2J"])
def test_rubbish_is_a_failed_check_in_one_line(
    lip: Lip, bundle: Path, data_file: Path, name: str, content: bytes
) -> None:
    (bundle / name).write_bytes(content)
    rehash(bundle)
    outcome = lip("verify", bundle, "--data", data_file)
    assert outcome.code == 1
    assert "\x1b" not in outcome.out + outcome.err
    assert all(line.startswith("lip: ") for line in outcome.err.splitlines())


@pytest.mark.parametrize("damage", ["a file", "a link", "a storage"])
def test_names_do_not_steer_a_terminal(lip: Lip, bundle: Path, data_file: Path, tmp_path: Path, damage: str) -> None:
    if damage == "a file":
        (bundle / "\x1b[2Jevil").write_text("x")
    elif damage == "a link":
        (bundle / "attack.log").unlink()
        (bundle / "attack.log").symlink_to(tmp_path / "\x1b[2J")
    else:
        (path,) = (bundle / "robustbench").glob("*.pt")
        path.write_bytes(path.read_bytes().replace(b"storage", b"sto\x1b[2Je"))
        rehash(bundle)
    for option in ([], ["--json"]):
        outcome = lip("verify", bundle, "--data", data_file, *option)
        assert outcome.code == 1
        assert "\x1b" not in outcome.out + outcome.err


def test_a_link_to_a_folder_is_not_followed(lip: Lip, bundle: Path, data_file: Path, tmp_path: Path) -> None:
    (bundle / "model").rename(tmp_path / "elsewhere")
    (bundle / "model").symlink_to(tmp_path / "elsewhere")
    outcome = lip("verify", bundle, "--data", data_file)
    assert outcome.code == 1
    assert "digest" not in outcome.out


def test_a_pickle_does_not_allocate(lip: Lip, bundle: Path, data_file: Path) -> None:
    """`weights_only` lets a pickle make a bytearray of any size."""

    class Large:
        def __reduce__(self) -> Any:
            return (bytearray, (2**45,))

    (path,) = (bundle / "robustbench").glob("*.pt")
    torch.save({"x": Large()}, path)
    rehash(bundle)
    outcome = lip("verify", bundle, "--data", data_file)
    assert outcome.code == 1
    assert "constructors that our file does not have" in outcome.err


def test_names_lead_nowhere(lip: Lip, bundle: Path, data_file: Path) -> None:
    """The data set's name is a part of a path that is read."""
    edit_json(bundle / "report" / "report.json", lambda document: document["dataset"].update(name="../../../elsewhere"))
    rehash(bundle)
    outcome = lip("verify", bundle, "--data", data_file)
    assert outcome.code == 1
    assert "dataset/name" in outcome.err


def test_a_pickle_in_the_state_dict_is_not_run(lip: Lip, bundle: Path, data_file: Path, tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> Any:
            return (Path.touch, (tmp_path / "ran",))

    (path,) = (bundle / "robustbench").glob("*.pt")
    torch.save({"x": Trap()}, path)
    rehash(bundle)
    outcome = lip("verify", bundle, "--data", data_file)
    assert outcome.code == 1
    assert not (tmp_path / "ran").exists()
    assert f"robustbench/{path.name}" in outcome.err


def test_other_weights_in_the_state_dict_are_noticed(lip: Lip, bundle: Path, data_file: Path) -> None:
    (path,) = (bundle / "robustbench").glob("*.pt")
    tensors = torch.load(path, weights_only=True)
    name = next(iter(tensors))
    tensors[name] = tensors[name] + 1e-6
    torch.save(tensors, path)
    rehash(bundle)
    outcome = lip("verify", bundle, "--data", data_file)
    assert outcome.code == 1
    assert f"other values in {name}" in outcome.err


@pytest.mark.parametrize(
    ("name", "value"), [("name", "other"), ("lip_plugin", "9.9"), ("n", 23), ("board", "sok"), ("dataset", "cifar10")]
)
def test_a_more_flattering_manifest_is_noticed(
    lip: Lip, bundle: Path, data_file: Path, name: str, value: str | int
) -> None:
    edit_json(bundle / "bundle.json", lambda document: document.update({name: value}))
    outcome = lip("verify", bundle, "--data", data_file)
    assert outcome.code == 1
    assert "bundle.json" in outcome.err


def test_a_bundle_that_takes_too_long_is_not_begun(
    lip: Lip, bundle: Path, data_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From its shapes alone; a higher limit lets it begin. Nothing is said about its claims."""
    monkeypatch.setattr("lip_plugin.verification.cost._PER_SECOND", 1000.0)  # a slow machine instead of a large network
    outcome = lip("verify", bundle, "--data", data_file, "--time-limit", "5")
    assert outcome.code == 2
    (line,) = outcome.err.splitlines()
    assert line.startswith(f"lip: {bundle} is not verified: its proof and 24 images take about ")
    assert line.endswith("5 s are allowed, --time-limit (time_limit) allows more")
    with pytest.raises(lp.ConfigError, match="5 s are allowed"):
        verify_bundle(bundle, time_limit=5)
    assert lip("verify", bundle, "--data", data_file, "--time-limit", "1000000").code == 0
