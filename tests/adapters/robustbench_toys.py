"""Untrained models in the shapes of RobustBench's data sets, with images to run them on."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

import lip_plugin as lp
from lip_plugin.models import LiResNetPP
from lip_plugin.network import CertifiedClassifier

SHAPES = {"cifar10": ((3, 32, 32), 10), "cifar100": ((3, 32, 32), 100), "imagenet": ((3, 224, 224), 1000)}


def toy(dataset: str, *, dtype: torch.dtype = torch.float32) -> CertifiedClassifier:
    shape, classes = SHAPES[dataset]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = LiResNetPP(
            input_shape=shape, num_classes=classes, depth=1, width=2, dense_width=8, dense_depth=1, neck_patch=4
        )
    return lp.freeze(model.to(dtype))


def save(model: CertifiedClassifier, directory: Path, *, dataset: str, name: str = "") -> Path:
    """A model directory whose card names the data set."""
    model.save(directory)
    card = json.loads((directory / "card.json").read_text())
    described = {**card, "dataset": dataset, "name": name or directory.name}
    (directory / "card.json").write_text(json.dumps(described))
    return directory


def save_images(folder: Path, dataset: str, x: Tensor, y: Tensor, eps: float) -> None:
    np.savez(folder / f"{dataset}.npz", x=x.numpy(), y=y.numpy(), eps=eps)
