"""What a forger does to a bundle, and what makes its files fit together again."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

import lip_plugin as lp
from lip_plugin.schema import read_points, read_report
from lip_plugin.submission.derived import derived_files
from lip_plugin.submission.manifest import file_record, read_manifest
from lip_plugin.submission.submission import Submission
from lip_plugin.zoo import read_card


def rehash(bundle: Path) -> None:
    """What a forger does last: the manifest fits again."""
    path = bundle / "bundle.json"
    manifest = json.loads(path.read_text())
    manifest["files"] = {name: file_record(bundle / name).model_dump() for name in manifest["files"]}
    path.write_text(json.dumps(manifest))


def edit_json(path: Path, change: Callable[[Any], object]) -> None:
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")


def edit_points(bundle: Path, change: Callable[[torch.Tensor, torch.Tensor], object]) -> None:
    """``change`` gets index and delta and writes into them."""
    path = bundle / "adversarial.safetensors"
    tensors = load_file(path)
    change(tensors["index"], tensors["delta"])
    save_file(tensors, path)


def derive(bundle: Path) -> None:
    """What a patient forger does: every text that follows from the forged figures is written again."""
    manifest = read_manifest(bundle)
    card, model = read_card(bundle / "model"), lp.load_model(bundle / "model")
    report = read_report(bundle / "report" / "report.json")
    points = read_points(bundle / "report" / "points.csv", tuple(result.eps for result in report.eps))
    forged = Submission(manifest.board, card, model, report, points, manifest.images_sha256)
    for name, content in derived_files(forged).items():
        (bundle / name).write_text(content)
    rehash(bundle)
