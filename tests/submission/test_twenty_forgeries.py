"""Twenty forgeries of one honest bundle, with all hashes and all texts that follow from the forged figures made to fit.

Each is a lie that no hash tells: a figure, a name, a point, or something smuggled in beside what is claimed.
"""

from __future__ import annotations

import io
import math
import shutil
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import lip_plugin as lp
from lip_plugin.data import load_npz
from lip_plugin.network.record import technical_record
from lip_plugin.submission.manifest import file_record
from lip_plugin.submission.robustbench import state_dict_bytes
from lip_plugin.verification import verify_bundle

from .forging import derive, edit_json, edit_points, rehash

Forge = Callable[[Path], None]
FORGERIES: dict[str, tuple[Forge, str]] = {}


def forgery(named: str) -> Callable[[Forge], Forge]:
    """Adds one under its own name; ``named`` is in the line that catches it, the file first."""

    def add(forge: Forge) -> Forge:
        FORGERIES[forge.__name__.replace("_", " ")] = (forge, named)
        return forge

    return add


def report(bundle: Path, change: Callable[[Any], object]) -> None:
    edit_json(bundle / "report" / "report.json", change)


def state_dict(bundle: Path) -> Path:
    (path,) = (bundle / "robustbench").glob("*.pt")
    return path


def listed(bundle: Path, name: str) -> None:
    record = file_record(bundle / name).model_dump()
    edit_json(bundle / "bundle.json", lambda manifest: manifest["files"].update({name: record}))


def npy(array: np.ndarray[Any, Any]) -> bytes:
    content = io.BytesIO()
    np.save(content, array)
    return content.getvalue()


def rows(bundle: Path, change: Callable[[list[list[str]]], object]) -> None:
    path = bundle / "report" / "points.csv"
    table = [line.split(",") for line in path.read_text().splitlines()]
    change(table)
    path.write_text("\n".join(",".join(row) for row in table) + "\n")


# --- the network -------------------------------------------------------------------------------------------------


@forgery("report/report.json: ")
def two_classes_change_places(bundle: Path) -> None:
    """Weights, card, digests and state dict of another network whose rows 0 and 1 are swapped; figures as they were."""
    model_dir = bundle / "model"
    tensors = load_file(model_dir / "model.safetensors")
    for value in tensors.values():
        value[:2] = value[:2].flip(0)
    model = lp.load_model(model_dir)
    weight, bias = tensors["01_weight"], tensors["01_bias"]
    forged = lp.CertifiedClassifier(model.operators, type(model.head)(weight, bias), input_shape=model.input_shape)
    save_file(tensors, model_dir / "model.safetensors")
    known = technical_record(forged, (model_dir / "model.safetensors").read_bytes())
    edit_json(model_dir / "card.json", lambda card: card.update(known))
    report(bundle, lambda document: document["model"].update({name: known[name] for name in ("sha256", "digest")}))
    state_dict(bundle).write_bytes(state_dict_bytes(forged))


@forgery("model/card.json: ")
def operators_of_somebody_elses(bundle: Path) -> None:
    edit_json(bundle / "model" / "card.json", lambda card: card.update(foreign_operators=["conv (nist.Certified)"]))


@forgery("model/card.json: ")
def a_card_with_room_for_more(bundle: Path) -> None:
    path = bundle / "model" / "card.json"
    path.write_text(path.read_text() + " " * 1000)


@forgery("model.safetensors")
def words_in_the_header_of_the_weights(bundle: Path) -> None:
    path = bundle / "model" / "model.safetensors"
    save_file(load_file(path), path, {"certified": "99 % at 0.5"})
    sha256 = file_record(path).sha256
    edit_json(bundle / "model" / "card.json", lambda card: card.update(sha256=sha256))
    report(bundle, lambda document: document["model"].update(sha256=sha256))


# --- figures -----------------------------------------------------------------------------------------------------


@forgery("report/points.csv: row")
def an_undecided_image_changes_places_with_a_certified_one(bundle: Path) -> None:
    """The counts stay as they are: radius, margin and status go together."""

    def swap(table: list[list[str]]) -> None:
        first = next(row for row in table[1:] if row[9] == "certified")
        second = next(row for row in table[1:] if row[9] == "broken" and row[1] == first[1])
        first[3:5], second[3:5] = second[3:5], first[3:5]
        first[9:], second[9:] = second[9:], first[9:]

    rows(bundle, swap)


@forgery("report/report.json: ")
def an_image_more_at_the_smallest_radius(bundle: Path) -> None:
    """Broken becomes certified, share and counts with it."""

    def change(document: Any) -> None:
        one = document["eps"][0]
        one["counts"]["certified"] += 1
        one["counts"]["broken"] -= 1
        one["verified_robust_accuracy"] = one["counts"]["certified"] / document["dataset"]["n"]
        one["empirical_robust_accuracy"]["two-steps"] = one["verified_robust_accuracy"]

    report(bundle, change)


@forgery("report/report.json: ")
def an_interval_that_ends_higher(bundle: Path) -> None:
    report(bundle, lambda document: document["eps"][0]["vra_interval95"].__setitem__(0, 0.45))


@forgery("report/report.json: ")
def a_radius_in_another_norm(bundle: Path) -> None:
    report(bundle, lambda document: document["statistics"]["eps"][0].update(linf_eps=0.02))


@forgery("report/report.json: ")
def classes_that_trade_their_images(bundle: Path) -> None:
    """The sum stays: one class lends another an image that it gets right."""

    def change(document: Any) -> None:
        first, second = document["statistics"]["classes"][:2]
        first["n"], second["n"] = first["n"] - 1, second["n"] + 1

    report(bundle, change)


@forgery("report/points.csv: row")
def a_radius_a_millionth_larger(bundle: Path) -> None:
    def change(table: list[list[str]]) -> None:
        row = next(row for row in table[1:] if row[9] == "certified")
        row[4] = repr(float(row[4]) * (1 + 1e-6))

    rows(bundle, change)


@forgery("report/report.json: eps/1/verified_robust_accuracy")
def nothing_with_a_minus(bundle: Path) -> None:
    """-0.0 equals the 0.0 that is proved, and is written otherwise in every text."""
    report(bundle, lambda document: document["eps"][1].update(verified_robust_accuracy=-0.0))


@forgery("report/report.json: ")
def a_name_in_cyrillic(bundle: Path) -> None:
    report(
        bundle, lambda document: document["model"].update(name="t\N{CYRILLIC SMALL LETTER BYELORUSSIAN-UKRAINIAN I}ny")
    )


@forgery("report/report.json")
def a_number_beyond_all_doubles(bundle: Path) -> None:
    path = bundle / "report" / "report.json"
    path.write_text(path.read_text().replace('"certify_seconds": 0.0', '"certify_seconds": 1e400'))


# --- points ------------------------------------------------------------------------------------------------------


@forgery("adversarial.safetensors: point of image")
def a_point_one_step_of_its_grid_nearer(bundle: Path) -> None:
    """One pixel of one point, by one float32."""

    def change(index: torch.Tensor, delta: torch.Tensor) -> None:
        largest = int(delta[0].abs().argmax())
        delta[0].view(-1)[largest] *= 1 - 2.0**-17

    edit_points(bundle, change)


@forgery("adversarial.safetensors: ")
def points_that_belong_to_other_images(bundle: Path) -> None:
    edit_points(bundle, lambda index, delta: delta.copy_(delta.flip(0)))


@forgery("adversarial.safetensors: ")
def words_in_the_header_of_the_points(bundle: Path) -> None:
    path = bundle / "adversarial.safetensors"
    save_file(load_file(path), path, {"certified": "99 % at 0.5"})


# --- beside what is claimed --------------------------------------------------------------------------------------


@forgery("bundle.json: files")
def a_folder_with_a_message(bundle: Path) -> None:
    (bundle / "certified by NIST").mkdir()


@forgery("robustbench/tiny.pt: ")
def a_program_beside_the_tensors(bundle: Path) -> None:
    """In the folder that the tensors are in, stored as they are; `torch.load` reads the tensors and says nothing."""
    path = state_dict(bundle)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(f"{archive.namelist()[0].partition('/')[0]}/code/evil.py", "print()")


@forgery("robustbench/tiny.pt: ")
def numbers_behind_the_tensors(bundle: Path) -> None:
    """Equal tensors, as views of a storage with room for more."""
    path = state_dict(bundle)
    honest = torch.load(path, weights_only=True)
    storage = torch.cat([*(value.flatten() for value in honest.values()), torch.full((512,), math.pi)])
    ends = np.cumsum([0, *(value.numel() for value in honest.values())]).tolist()
    views = {name: storage[start : start + value.numel()].view(value.shape)
             for (name, value), start in zip(honest.items(), ends, strict=False)}  # fmt: skip
    torch.save(views, path)


@forgery("images.npz: ")
def two_files_of_one_name(bundle: Path) -> None:
    """What is drawn, and what is hashed: readers differ in which of the two they take."""
    images = bundle / "images.npz"
    with np.load(bundle.parent / "honest.npz") as arrays:
        honest = dict(arrays)
    np.savez(images, x=np.zeros_like(honest["x"]), y=honest["y"])
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(images, "a") as archive:
        archive.writestr("x.npy", npy(honest["x"]))
    listed(bundle, "images.npz")


@pytest.mark.parametrize("name", FORGERIES)
def test_a_forgery_is_caught_and_its_file_named(name: str, bundle: Path, data_file: Path) -> None:
    forge, named = FORGERIES[name]
    shutil.copy(data_file, bundle.parent / "honest.npz")
    forge(bundle)
    with suppress(lp.LipPluginError):  # where the forged parts contradict each other no text follows from them
        derive(bundle)
    rehash(bundle)
    own = (bundle / "images.npz").exists()
    found = verify_bundle(bundle, images=None if own else lambda card, count: load_npz(data_file).first(count))
    assert any(named in one.line() for one in found.failures), found.failures


def test_they_are_twenty() -> None:
    assert len(FORGERIES) == 20
