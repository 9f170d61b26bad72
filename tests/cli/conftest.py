"""A small model directory and images that fit it, so that commands answer in a moment."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import lip_plugin as lp

SHAPE = (1, 4, 4)


@pytest.fixture
def model_dir(tmp_path: Path) -> Path:
    """A linear classifier of 3 classes on 4x4 images, saved."""
    torch.manual_seed(0)
    head = nn.Linear(16, 3)
    head.bias.data = -head.weight.data.sum(1) / 2
    directory = tmp_path / "tiny"
    lp.wrap(nn.Flatten().eval(), head.eval(), input_shape=SHAPE).save(directory)
    return directory


@pytest.fixture
def data_file(tmp_path: Path) -> Path:
    """24 uint8 images with labels, as an .npz."""
    generator = np.random.default_rng(0)
    path = tmp_path / "images.npz"
    np.savez(path, x=generator.integers(0, 256, (24, *SHAPE), np.uint8), y=generator.integers(0, 3, 24))
    return path
