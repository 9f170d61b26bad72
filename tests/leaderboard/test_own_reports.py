"""What `lip certify` writes is what the leaderboard reads."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

import lip_plugin as lp


def test_from_a_model_to_the_leaderboard(tmp_path: Path, lip: Callable[..., Any], csv_rows: Callable[..., Any]) -> None:
    torch.manual_seed(0)
    lp.wrap(nn.Flatten().eval(), nn.Linear(16, 3).eval(), input_shape=(1, 4, 4)).save(tmp_path / "tiny")
    draw = np.random.default_rng(0)
    np.savez(tmp_path / "images.npz", x=draw.integers(0, 256, (24, 1, 4, 4), np.uint8), y=draw.integers(0, 3, 24))
    out = tmp_path / "evaluation"
    options = ("--data", tmp_path / "images.npz", "--eps", "0.01,36/255", "--out", out, "--audit-lipschitz", "--quiet")
    assert lip("certify", tmp_path / "tiny", *options).code == 0
    assert lip("leaderboard", out, "--out", tmp_path / "board").code == 0
    report = json.loads((out / "report.json").read_text())
    (row,) = csv_rows(tmp_path / "board")
    assert (row["certificate"], row["dataset"], row["images"]) == ("claimed sound", "own images", "24")
    assert float(row["clean"]) == report["clean_accuracy"]
    for result, eps in zip(report["eps"], ("0.01", "36/255"), strict=True):
        assert float(row[f"vra@{eps}"]) == result["verified_robust_accuracy"]
        assert [float(row[f"vra_{end}@{eps}"]) for end in ("low", "high")] == result["vra_interval95"]
    assert float(row["found_over_proved"]) == report["lipschitz"]["lower_bound"] / report["lipschitz"]["upper_bound"]
    assert float(row["certify_seconds"]) == report["cost"]["certify_seconds"]
