"""Saved models with one operator of every kind, and what the library certifies of them: material for the checker."""

from __future__ import annotations

import csv
import hashlib
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import load, save

import lip_plugin as lp
from lip_plugin.network import Dense, Flatten, Head, Operator, Reshape

from ..network.test_operators import CASES, draw
from .loading import load_tool

recheck = load_tool("recheck")
REFUSED = frozenset[str]()
"""Kinds of ours that the checker does not know, and says so."""
PROVED = [case for case, (make, _, _) in CASES.items() if make().kind not in REFUSED]
Edit = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class Saved:
    """A model directory, its images, and what the library certifies of them."""

    directory: Path
    points: list[dict[str, object]]
    place: int
    """Of the operator that this is about."""

    def check(self, points: list[dict[str, object]] | None = None) -> int:
        path = self.directory / "points.csv"
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, ["index", "label", "prediction", "radius"])
            writer.writeheader()
            writer.writerows(points or self.points)
        return recheck.main([str(self.directory), "--data", str(self.directory / "images.npz"), "--points", str(path)])

    def edit_card(self, edit: Edit) -> None:
        path = self.directory / "card.json"
        card = json.loads(path.read_text())
        edit(card)
        path.write_text(json.dumps(card))

    def scale_weights(self, factor: float) -> bool:
        """All numbers of the operator, under a checksum that is right again; False where it has none."""
        path = self.directory / "model.safetensors"
        stored = load(path.read_bytes())
        own = [name for name in stored if name.startswith(f"{self.place:02d}_")]
        for name in own:
            stored[name] = np.asarray(stored[name] * np.float32(factor))
        path.write_bytes(save(stored))
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        self.edit_card(lambda card: card.update(sha256=digest))
        return bool(own)


def saved(case: str, directory: Path) -> Saved:
    """Between dense layers: images of 12 numbers, 5 of them, in 3 classes."""
    make, shape, _ = CASES[case]
    return saved_with([make()], shape, directory)


def saved_with(operators: list[Operator], shape: tuple[int, ...], directory: Path) -> Saved:
    before, out = [Flatten(), Dense(draw(math.prod(shape), 12), draw(math.prod(shape), seed=2)), Reshape(shape)], shape
    for operator in operators:
        out = operator.output_shape(out)
    after = [Flatten()] if len(out) > 1 else []
    head = Head(draw(3, math.prod(out)) / math.prod(out) ** 0.5, draw(3, seed=5))
    model = lp.CertifiedClassifier([*before, *operators, *after], head, input_shape=(3, 2, 2))
    model.save(directory)
    x = torch.rand(5, 3, 2, 2, generator=torch.Generator().manual_seed(1))
    np.savez(directory / "images.npz", x=x.numpy(), y=np.arange(5) % 3)
    certificate, bound = lp.certify(model, x), lp.lipschitz_upper_bound(model).value
    found = zip(certificate.prediction.tolist(), certificate.radius.tolist(), strict=True)
    points: list[dict[str, object]] = [
        {"index": i, "label": i % 3, "prediction": j, "radius": repr(r)} for i, (j, r) in enumerate(found)
    ]
    made = Saved(directory, points, len(before))
    made.edit_card(lambda card: card.update(measured={"lipschitz_upper_bound": bound}))
    return made
