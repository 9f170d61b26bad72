"""A bundle that is honest verifies; whatever is changed in one is found, also where its hashes are changed with it."""

from __future__ import annotations

import copy
import io
import json
import math
import shutil
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

import lip_plugin as lp
from lip_plugin.data import load_npz
from lip_plugin.errors import CheckpointError
from lip_plugin.submission.write import write_bundle
from lip_plugin.verification import Verification, verify_bundle
from lip_plugin.verification.agreement import numbers_agree

from .conftest import Made, Make, Step, TwoSteps
from .forging import derive, edit_json, edit_points, rehash

Lip = Any


# --- the honest one ----------------------------------------------------------------------------------------------


def test_an_honest_bundle_verifies(lip: Lip, honest: Path, data_file: Path) -> None:
    outcome = lip("verify", honest, "--data", data_file)
    assert (outcome.code, outcome.err) == (0, "")
    assert "VERIFIED" in outcome.out.splitlines()[-1]
    assert "only attacking again could tell" in outcome.out


def test_every_number_of_the_report_was_measured(honest: Path, verified: Callable[[Path], Verification]) -> None:
    found = verified(honest)
    assert {one.verdict for one in found.checks} == {"agrees"}
    files = {one.file for one in found.checks}
    listed = set(json.loads((honest / "bundle.json").read_text())["files"])
    # Weights were read: they are what all else is made from.
    assert listed - files == {"model/model.safetensors"}


@pytest.mark.parametrize(
    "settings", [{"skip_certified": False}, {"attacks": [Step(0.5), TwoSteps()], "audit": 2}], ids=["full", "two"]
)
def test_every_protocol_verifies(
    make: Make, verified: Callable[[Path], Verification], tmp_path: Path, settings: dict[str, Any]
) -> None:
    made = make(**settings)
    write_bundle(made.submission, made.perturbations, made.images, tmp_path / "bundle")
    found = verified(tmp_path / "bundle")
    assert [one.line() for one in (*found.failures, *found.gaps)] == []
    assert made.report.audit.attacked_certified > 0


def test_json_has_every_check(lip: Lip, honest: Path, data_file: Path) -> None:
    document = json.loads(lip("verify", honest, "--data", data_file, "--json").out)
    assert document["verdict"] == "verified"
    assert document["name"] == "tiny"
    assert {check["verdict"] for check in document["checks"]} == {"agrees"}
    assert any("radius" in one or "attack" in one for one in document["trusted"])


def test_without_the_images_it_is_verified_in_part(lip: Lip, honest: Path) -> None:
    outcome = lip("verify", honest)
    assert outcome.code == 2
    assert "VERIFIED" not in outcome.out
    assert "in part only" in outcome.err
    assert "--data-dir" in outcome.err


def test_included_images_need_no_others(lip: Lip, made: Made, tmp_path: Path) -> None:
    directory = tmp_path / "whole"
    write_bundle(made.submission, made.perturbations, made.images, directory, include_images=True)
    outcome = lip("verify", directory)
    assert (outcome.code, outcome.err) == (0, "")
    (directory / "images.npz").write_bytes(b"PK\x05\x06" + bytes(18))
    rehash(directory)
    assert lip("verify", directory).code == 1


def test_an_archive_that_claims_more_than_it_has_is_a_forgery(lip: Lip, made: Made, tmp_path: Path) -> None:
    """numpy would allocate what it claims: that must not pass for a machine without memory."""
    directory = tmp_path / "whole"
    write_bundle(made.submission, made.perturbations, made.images, directory, include_images=True)
    header = io.BytesIO()
    claim = {"descr": "|u1", "fortran_order": False, "shape": (2**52,)}
    np.lib.format.write_array_header_1_0(header, claim)
    with zipfile.ZipFile(directory / "images.npz", "w") as archive:
        for name in ("x.npy", "y.npy"):
            archive.writestr(name, header.getvalue())
    rehash(directory)
    outcome = lip("verify", directory)
    assert outcome.code == 1 and f"claims {2**52} bytes of data and has 0" in outcome.err


@pytest.mark.parametrize(
    ("place", "lack"),
    [
        ("images.np.load", MemoryError()),
        ("binaries.torch.load", RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried")),
        ("files.file_record", OSError(12, "Cannot allocate memory")),
        ("bundle.read_report", CheckpointError("cannot read the report")),
        ("verify.measure", CheckpointError("cannot be proved")),
        ("texts.read_regular", OSError(12, "Cannot allocate memory")),
    ],
)
def test_a_lack_of_memory_accuses_nobody(
    lip: Lip, made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, lack: Exception
) -> None:
    directory = tmp_path / "whole"
    write_bundle(made.submission, made.perturbations, made.images, directory, include_images=True)
    if place.startswith("binaries"):  # it is loaded where its bytes are others
        path = directory / "robustbench" / "x_adv.pt"
        torch.save(torch.load(path, weights_only=True) + 1, path)
        rehash(directory)

    def failing(*arguments: object, **settings: object) -> None:
        if isinstance(lack, CheckpointError):
            raise lack from MemoryError()
        raise lack

    monkeypatch.setattr(f"lip_plugin.verification.{place}", failing)
    outcome = lip("verify", directory)
    assert outcome.code == 71 and outcome.out == ""
    assert outcome.err.startswith("lip: not enough memory") and outcome.err.count("\n") == 1


def test_adversarial_images_for_robustbench_are_compared(lip: Lip, made: Made, tmp_path: Path) -> None:
    directory = tmp_path / "whole"
    write_bundle(made.submission, made.perturbations, made.images, directory, include_images=True)
    path = directory / "robustbench" / "x_adv.pt"
    x = torch.load(path, weights_only=True)
    x[3, 0, 1, 1] += 0.01
    torch.save(x, path)
    rehash(directory)
    outcome = lip("verify", directory)
    assert outcome.code == 1
    assert "robustbench/x_adv.pt" in outcome.err


def test_other_images_are_other_images(lip: Lip, honest: Path, data_file: Path, tmp_path: Path) -> None:
    with np.load(data_file) as archive:
        x, y = archive["x"].copy(), archive["y"]
    x[5, 0, 2, 2] ^= 1
    np.savez(tmp_path / "other.npz", x=x, y=y)
    outcome = lip("verify", honest, "--data", tmp_path / "other.npz")
    assert outcome.code == 1
    assert "images (sha256)" in outcome.err


# --- changed files -----------------------------------------------------------------------------------------------


def test_one_flipped_byte_of_the_weights(lip: Lip, bundle: Path, data_file: Path) -> None:
    path = bundle / "model" / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-7] ^= 4
    path.write_bytes(content)
    outcome = lip("verify", bundle, "--data", data_file)
    assert outcome.code == 1
    assert "model/model.safetensors: sha256" in outcome.err
    rehash(bundle)  # the card still names the former hash
    assert lip("verify", bundle, "--data", data_file).code == 1


@given(st.data())
def test_any_changed_byte_is_noticed(
    honest: Path, data_file: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    directory = Path(shutil.copytree(honest, tmp_path_factory.mktemp("flip") / "bundle"))
    names = sorted(path.relative_to(directory).as_posix() for path in directory.rglob("*") if path.is_file())
    path = directory / data.draw(st.sampled_from([name for name in names if name != "bundle.json"]))
    content = bytearray(path.read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(content)
    found = verify_bundle(directory, images=lambda card, count: load_npz(data_file).first(count))
    assert any(one.file == path.relative_to(directory).as_posix() for one in found.failures)
    shutil.rmtree(directory)


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if isinstance(value, dict):
        for name, part in value.items():
            yield from leaves(part, (*path, name))
    elif isinstance(value, list):
        for position, part in enumerate(value):
            yield from leaves(part, (*path, position))
    else:
        yield path


def changed(document: Any, path: tuple[Any, ...]) -> Any:
    """The document with the value at this place made a little wrong."""
    forged = copy.deepcopy(document)
    parent = forged
    for name in path[:-1]:
        parent = parent[name]
    value = parent[path[-1]]
    parent[path[-1]] = (
        not value
        if isinstance(value, bool)
        else value + 1
        if isinstance(value, int)
        else value * (1 + 1e-6) + 1e-8
        if isinstance(value, float)
        else 0.5
        if value is None
        else f"{value}x"
    )
    return forged


@pytest.mark.parametrize("part", range(8))  # for as many processes as there are
def test_every_value_of_the_report_is_held_against_something(
    bundle: Path, verified: Callable[[Path], Verification], part: int
) -> None:
    """With the hashes made to fit: words and numbers alike, one at a time."""
    path = bundle / "report" / "report.json"
    document = json.loads(path.read_text())
    assert verified(bundle).failures == []
    known_to_a_clock = ("cost", "certify_seconds")  # and repeated by the page alone
    places = [place for place in leaves(document) if place != known_to_a_clock][part::8]
    assert len(places) > 12
    for place in places:
        path.write_text(json.dumps(changed(document, place), indent=1) + "\n")
        rehash(bundle)
        assert verified(bundle).failures, place


@pytest.mark.parametrize("column", [1, 2, 3, 4, 5, 7, 8, 9])  # 6, who found a point, only attacking could tell
def test_every_column_of_the_points_is_held_against_something(
    bundle: Path, verified: Callable[[Path], Verification], column: int
) -> None:
    path = bundle / "report" / "points.csv"
    lines = [line.split(",") for line in path.read_text().splitlines()]
    row = next(row for row in lines[1:] if row[5])
    other = {
        1: str((int(row[1]) + 1) % 4),
        2: str((int(row[2]) + 1) % 4),
        3: repr(float(row[3]) + 1e-6),
        4: repr(float(row[4]) * 1.01),
        5: repr(float(row[5]) * 0.9),
    }
    statuses = [status for status in ("certified", "broken", "undecided", "wrong") if status != row[column]]
    row[column] = other.get(column, statuses[0])
    path.write_text("\n".join(",".join(line) for line in lines) + "\n")
    rehash(bundle)
    assert any(one.file == "report/points.csv" for one in verified(bundle).failures)


@pytest.mark.parametrize(
    ("name", "written", "forged"),
    [
        ("attack.log", "at 0.5: 0.", "at 0.5: 0.9"),
        ("robustbench/new_model.md", "83.33%", "93.33%"),
        ("robustbench/model_info/own images/L2/tiny.json", '"83.33"', '"93.33"'),
        ("robustbench/architecture.py", "x.flatten(1)", "x.flatten(2)"),
        ("LICENSE.txt", "MIT License", "MIT Licence"),
        ("CITATION.bib", "tiny", "large"),
    ],
)
def test_a_number_changed_in_a_document_is_named(
    lip: Lip, bundle: Path, data_file: Path, name: str, written: str, forged: str
) -> None:
    path = bundle / name
    text = path.read_text()
    assert written in text
    path.write_text(text.replace(written, forged, 1))
    rehash(bundle)
    outcome = lip("verify", bundle, "--data", data_file)
    assert outcome.code == 1
    assert f"lip: {name}: " in outcome.err


@pytest.mark.parametrize("factor", [1 - 1e-11, 1 + 1e-8, 0.0])
def test_a_bound_is_proved_or_it_differs(lip: Lip, bundle: Path, data_file: Path, factor: float) -> None:
    """Below the proved one by less than numbers may differ, above it by more, and nothing at all."""

    def change(document: Any) -> None:
        document["lipschitz"]["upper_bound"] *= factor

    edit_json(bundle / "report" / "report.json", change)
    derive(bundle)
    outcome = lip("verify", bundle, "--data", data_file)
    assert outcome.code == 1
    assert "report/report.json: Lipschitz upper bound: claimed" in outcome.err


def test_zero_equals_only_zero() -> None:
    assert numbers_agree(0.0, 0.0)
    assert not numbers_agree(0.0, 1e-300) and not numbers_agree(1e-300, 0.0)
    assert numbers_agree(1e-300 * (1 + 1e-10), 1e-300) and not numbers_agree(1e-300 * (1 + 1e-8), 1e-300)
    assert not numbers_agree(math.nan, math.nan) and numbers_agree(math.inf, math.inf)
    assert not numbers_agree(math.inf, 1e308)


def test_the_page_is_drawn_from_what_was_measured(lip: Lip, bundle: Path, data_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "page"
    assert lip("verify", bundle, "--data", data_file, "--out", out).code == 0
    assert {"report.json", "points.csv", "report.md", "CERTIFICATE.md"} <= {path.name for path in out.iterdir()}
    assert (out / "points.csv").read_text() == (bundle / "report" / "points.csv").read_text()
    assert "every tensor x' with ||x' - x||_2 < r" in (out / "CERTIFICATE.md").read_text()
    (bundle / "attack.log").write_text("forged")
    rehash(bundle)
    assert lip("verify", bundle, "--data", data_file, "--out", tmp_path / "other").code == 1
    assert not (tmp_path / "other").exists()


# --- changed perturbations ---------------------------------------------------------------------------------------


def zeroed(index: torch.Tensor, delta: torch.Tensor) -> None:
    delta[1] = 0


def outside_its_ball(index: torch.Tensor, delta: torch.Tensor) -> None:
    delta[1] *= 40


def moved_a_little(index: torch.Tensor, delta: torch.Tensor) -> None:
    delta[1] *= 1.001


def outside_the_box(index: torch.Tensor, delta: torch.Tensor) -> None:
    delta[1, 0, 0, 0] = 2


@pytest.mark.parametrize("hashes", ["stale", "forged"])
@pytest.mark.parametrize("change", [zeroed, outside_its_ball, moved_a_little, outside_the_box])
def test_a_changed_perturbation_is_named(
    lip: Lip, bundle: Path, made: Made, data_file: Path, change: Callable[..., None], hashes: str
) -> None:
    edit_points(bundle, change)
    if hashes == "forged":
        rehash(bundle)
    outcome = lip("verify", bundle, "--data", data_file)
    assert outcome.code == 1
    assert f"adversarial.safetensors: point of image {int(made.perturbations.index[1])}:" in outcome.err


def test_a_missing_perturbation_is_named(lip: Lip, bundle: Path, made: Made, data_file: Path) -> None:
    path = bundle / "adversarial.safetensors"
    save_file({name: value[1:].contiguous() for name, value in load_file(path).items()}, path)
    rehash(bundle)
    outcome = lip("verify", bundle, "--data", data_file)
    assert outcome.code == 1
    assert f"point of image {int(made.perturbations.index[0])}: claimed at distance" in outcome.err
    assert "measured missing" in outcome.err


def test_lp_has_the_checks_as_values(honest: Path, data_file: Path) -> None:
    found = verify_bundle(honest, images=lambda card, count: load_npz(data_file).first(count))
    assert isinstance(found, Verification)
    bound = next(one for one in found.checks if one.what == "Lipschitz upper bound")
    assert float(str(bound.measured)) == pytest.approx(lp.lipschitz_upper_bound(lp.load_model(honest / "model")).value)
