"""A bundle on disk: complete, hashed, loadable, the same every time, and replaced only by another bundle."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import lip_plugin as lp
from lip_plugin.data import load_npz
from lip_plugin.submission.certificate_statement import certificate_statement
from lip_plugin.submission.derived import derived_files
from lip_plugin.submission.images_digest import images_sha256
from lip_plugin.submission.layout import TOP_LEVEL
from lip_plugin.submission.manifest import bundle_files, read_manifest
from lip_plugin.submission.optional_images import first_pictures
from lip_plugin.submission.write import check_bundle_directory, write_bundle

FILES = {
    "CITATION.bib",
    "LICENSE.txt",
    "adversarial.safetensors",
    "attack.log",
    "model/card.json",
    "model/model.safetensors",
    "report/points.csv",
    "report/report.json",
}


@pytest.fixture(scope="module")
def bundle(made: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("bundles") / "tiny"
    write_bundle(made.submission, made.perturbations, made.images, directory)
    return directory


def test_the_manifest_lists_every_file_with_its_hash(bundle: Path, made: Any) -> None:
    manifest = read_manifest(bundle)
    on_disk = {path.relative_to(bundle).as_posix(): path for path in bundle.rglob("*") if path.is_file()}
    assert set(manifest.files) == set(on_disk) - {"bundle.json"} >= FILES
    assert not [name for name in manifest.files if name.endswith((".html", ".svg"))]  # numbers, nothing drawn
    for name, record in manifest.files.items():
        content = on_disk[name].read_bytes()
        assert (record.bytes, record.sha256) == (len(content), hashlib.sha256(content).hexdigest())
    assert {path.name for path in bundle.iterdir()} <= TOP_LEVEL
    assert (manifest.name, manifest.board, manifest.dataset, manifest.n) == ("tiny", "own", "own images", 24)
    assert manifest.images_sha256 == made.submission.images_sha256


def test_no_file_holds_the_images_unasked(bundle: Path, data_file: Path, made: Any) -> None:
    assert "images.npz" not in bundle_files(bundle)
    images = np.load(data_file)["x"]
    pixels = [images.tobytes()[:64], (images / np.float32(255)).astype(np.float32).tobytes()[:64]]
    for name in bundle_files(bundle):
        content = (bundle / name).read_bytes()
        assert not any(one in content for one in pixels), name


def test_the_model_in_it_is_the_model(bundle: Path, made: Any) -> None:
    loaded = lp.load_model(bundle / "model")
    assert loaded.digest == made.model.digest
    card = lp.model_card(str(bundle / "model"))
    assert card == made.card
    assert card.authors == "A | B\n## not a heading"


def test_the_images_digest_is_over_pixels_then_labels(data_file: Path) -> None:
    images = np.load(data_file)
    pixels = (torch.from_numpy(images["x"]).float() / 255).numpy()
    expected = hashlib.sha256(pixels.astype("<f4").tobytes() + images["y"].astype("<i8").tobytes()).hexdigest()
    assert images_sha256(load_npz(data_file)) == expected


def test_the_attack_log_has_the_stages_seeds_and_versions(bundle: Path, made: Any) -> None:
    log = (bundle / "attack.log").read_text("utf-8")
    start = log.index("eps\tstage")
    rows = [line.split("\t") for line in log[start:].split("\n\n")[0].splitlines()[1:]]
    assert [(float(eps), name, program, *map(int, counts)) for eps, name, program, *counts in rows] == [
        (stage.eps, stage.attack, stage.program, stage.images, stage.broken, stage.forwards)
        for stage in made.report.stages
    ]
    assert "seeds: 0; each block of 5 images" in log
    assert f"torch {torch.__version__}" in log
    assert f"sha256 {made.submission.images_sha256}" in log


def test_hostile_text_stays_text(bundle: Path) -> None:
    for path in bundle.rglob("*.md"):
        assert "\n## not a heading" not in path.read_text("utf-8"), path
    assert "title = {tiny" in (bundle / "CITATION.bib").read_text("utf-8")
    assert "On (braces)" in (bundle / "CITATION.bib").read_text("utf-8")


def test_a_pipe_in_a_name_makes_no_cell(made: Any) -> None:
    report = made.submission.report
    attack = "step|?a=<b>"
    named = dataclasses.replace(
        report,
        attacks=(attack,),
        dataset=dataclasses.replace(report.dataset, name="a|b`c", source="x\ty"),
        eps=tuple(
            dataclasses.replace(one, empirical_robust_accuracy=dict.fromkeys([attack], 0.5)) for one in report.eps
        ),
        stages=tuple(dataclasses.replace(stage, attack="a\tb\nc") for stage in report.stages),
    )
    renamed = dataclasses.replace(made.submission, report=named)
    files, statement = derived_files(renamed), certificate_statement(renamed)
    rows = [line for line in statement.splitlines() if line.startswith("| eps") or line.startswith("| 0.")]
    cells = {len(re.findall(r"(?<!\\)\|", row)) for row in rows}
    assert len(rows) == 4 and len(cells) == 1
    assert "step\\|?a=\\<b\\>" in files["robustbench/new_model.md"]
    assert {line.count("\t") for line in files["attack.log"].split("\n\n")[1].splitlines()} == {5}


def test_derived_files_follow_from_the_submission_alone(make: Any, made: Any, bundle: Path) -> None:
    again = derived_files(make().submission)
    for name, content in again.items():
        assert (bundle / name).read_bytes() == content.encode("utf-8"), name
    other = derived_files(dataclasses.replace(made.submission, images_sha256="0" * 64))
    assert {name for name in again if again[name] != other[name]} == {"attack.log"}


def test_two_bundles_of_one_submission_are_the_same_bytes(made: Any, bundle: Path, tmp_path: Path) -> None:
    write_bundle(made.submission, made.perturbations, made.images, tmp_path / "again")
    assert (tmp_path / "again" / "bundle.json").read_bytes() == (bundle / "bundle.json").read_bytes()


def test_images_come_where_they_are_asked_for(made: Any, data_file: Path, tmp_path: Path) -> None:
    directory = tmp_path / "with"
    write_bundle(made.submission, made.perturbations, made.images, directory, include_images=True)
    given, kept = np.load(data_file), load_npz(directory / "images.npz")
    assert kept.pixels.dtype == np.uint8
    assert np.array_equal(kept.pixels, given["x"]) and np.array_equal(kept.labels, given["y"])
    assert images_sha256(kept) == made.submission.images_sha256
    attacked = torch.load(directory / "robustbench/x_adv.pt", weights_only=True)
    x = torch.from_numpy(given["x"]).float() / 255
    moved = (attacked != x).flatten(1).any(1)
    distance = torch.tensor(made.submission.points.adversarial_distance, dtype=torch.float64)
    assert torch.equal(moved, distance <= 0.5) and bool(moved.any())
    apart = torch.linalg.vector_norm((attacked.double() - x.double()).flatten(1), dim=1)
    torch.testing.assert_close(apart[moved], distance[moved], rtol=1e-14, atol=0)
    shown = first_pictures(made.images, made.perturbations)
    assert [picture.index for picture in shown] == made.perturbations.index.tolist()[:8]
    for picture in shown:
        assert torch.equal(picture.image, x[picture.index])
        assert torch.equal(picture.adversarial, attacked[picture.index])


def test_overwrite_replaces_a_bundle_and_nothing_else(made: Any, tmp_path: Path) -> None:
    directory = tmp_path / "b"
    write_bundle(made.submission, made.perturbations, made.images, directory)
    with pytest.raises(lp.ConfigError, match="not empty"):
        check_bundle_directory(directory, overwrite=False)
    check_bundle_directory(directory, overwrite=True)
    note = directory / "report" / "my notes.txt"
    note.write_text("mine")
    with pytest.raises(lp.ConfigError, match=r"report/my notes\.txt.*does not replace"):
        write_bundle(made.submission, made.perturbations, made.images, directory, overwrite=True)
    assert note.read_text() == "mine"
    other = tmp_path / "other"
    (other / "report").mkdir(parents=True)
    (other / "attack.log").write_text("mine")
    with pytest.raises(lp.ConfigError, match="replaces bundles only"):
        check_bundle_directory(other, overwrite=True)


def manifest_of(bundle: Path) -> dict[str, Any]:
    return json.loads((bundle / "bundle.json").read_text("utf-8"))


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"schema": "lip-bundle/2"}, "schema"),
        ({"n": 0}, "n:"),
        ({"n": "24"}, "n:"),
        ({"more": 1}, "more"),
        ({"name": "../tiny"}, "name"),
        ({"images_sha256": "A" * 64}, "images_sha256"),
        ({"files": {"../x": {"sha256": "0" * 64, "bytes": 1}}}, "relative file names"),
        ({"files": {"/x": {"sha256": "0" * 64, "bytes": 1}}}, "relative file names"),
        ({"files": {"model//x": {"sha256": "0" * 64, "bytes": 1}}}, "relative file names"),
        ({"files": {"a\\b": {"sha256": "0" * 64, "bytes": 1}}}, "relative file names"),
        ({"files": {"bundle.json": {"sha256": "0" * 64, "bytes": 1}}}, "relative file names"),
        ({"files": {"x": {"sha256": "0" * 64, "bytes": -1}}}, "bytes"),
        ({"files": {"x": {"sha256": "0" * 64}}}, "bytes"),
    ],
)
def test_a_manifest_is_read_strictly(bundle: Path, tmp_path: Path, change: dict[str, Any], problem: str) -> None:
    (tmp_path / "bundle.json").write_text(json.dumps({**manifest_of(bundle), **change}))
    with pytest.raises(lp.CheckpointError, match=problem) as refused:
        read_manifest(tmp_path)
    assert "\n" not in str(refused.value)


def test_a_bundle_has_no_links(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("x")
    assert bundle_files(tmp_path) == ["a"]
    (tmp_path / "b").symlink_to(tmp_path / "a")
    with pytest.raises(lp.CheckpointError, match="b is a link"):
        bundle_files(tmp_path)


def test_no_manifest_is_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(lp.CheckpointError, match="is not a bundle"):
        read_manifest(tmp_path)
