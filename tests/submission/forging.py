"""What a forger does to a bundle, and what makes its files fit together again."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from lip_plugin.data import load_npz
from lip_plugin.report import html
from lip_plugin.submission.curve_plot import curve_svg
from lip_plugin.submission.derived import derived_files
from lip_plugin.submission.manifest import file_record, read_manifest
from lip_plugin.submission.submission import Submission
from lip_plugin.verification import verify
from lip_plugin.verification.points import tried_points
from lip_plugin.verification.recreate import measured_report, proved_report


def rehash(bundle: Path) -> None:
    """What a forger does last: the manifest fits again."""
    path = bundle / "bundle.json"
    manifest = json.loads(path.read_text())
    manifest["files"] = {name: file_record(bundle / name).model_dump() for name in manifest["files"]}
    path.write_text(json.dumps(manifest))


def edit_json(path: Path, change: Callable[[Any], None]) -> None:
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")


def edit_points(bundle: Path, change: Callable[[torch.Tensor, torch.Tensor], None]) -> None:
    """``change`` gets index and delta and writes into them."""
    path = bundle / "adversarial.safetensors"
    tensors = load_file(path)
    change(tensors["index"], tensors["delta"])
    save_file(tensors, path)


def derive(bundle: Path, data_file: Path) -> None:
    """What a patient forger does: every other file is written again from the forged report."""
    manifest = read_manifest(bundle)
    read = verify._read(bundle, manifest)  # pyright: ignore[reportPrivateUsage]
    images = load_npz(data_file)
    tried = tried_points(read.model, images, read.stored)
    report = measured_report(proved_report(read.model, read.card, images, read.claims), tried, read.claims)
    submission = Submission(manifest.board, read.card, read.model, report, manifest.images_sha256)
    for name, content in derived_files(submission).items():
        (bundle / name).write_text(content)
    (bundle / "report" / "report.html").write_text(html(report, gallery=False))
    (bundle / "curve.svg").write_text(curve_svg(report))
    rehash(bundle)
