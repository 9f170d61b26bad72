"""The comparison from the command line: one recipe, another word, another proved network."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

import lip_plugin as lp
from lip_plugin.cli import run
from lip_plugin.models.comparison import Comparison
from lip_plugin.models.layers.blocks import BLOCKS
from lip_plugin.train.config import load_config

SIZES = {"depth": 1, "width": 8, "stages": 2, "patch": 2, "dense_width": 16, "dense_depth": 1}
RECIPE = {
    "dataset": "mnist",
    "model": {"architecture": "comparison", **SIZES},
    "augment": {"crop": 0, "flip": False},
    "eps": 0.2,
    "epochs": 3,
    "batch_size": 32,
    "learning_rate": 0.02,
    "eps_grid": [0.2],
    "name": "tiny",
}


def write_idx(path: Path, array: np.ndarray) -> None:  # pyright: ignore[reportMissingTypeArgument]
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    path.write_bytes(bytes([0, 0, 8, array.ndim]) + sizes + array.astype(np.uint8).tobytes())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Images of two classes, dark above and dark below, in MNIST's own files; and a recipe."""
    generator = np.random.default_rng(0)
    for prefix, count in (("train", 320), ("t10k", 60)):
        labels = generator.integers(0, 2, count)
        pixels = generator.integers(0, 60, (count, 8, 8))
        for image, label in zip(pixels, labels, strict=True):
            image[4 * label : 4 * label + 4] += 180
        write_idx(tmp_path / f"{prefix}-images-idx3-ubyte", pixels)
        write_idx(tmp_path / f"{prefix}-labels-idx1-ubyte", labels)
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(RECIPE))
    return tmp_path


@pytest.mark.parametrize("words", [("block=aol",), ("block=lot",), ("block=aoc", "downsampling=aoc", "matrix=cayley")])
def test_one_word_trains_another_layer(folder: Path, words: tuple[str, ...]) -> None:
    out = folder / "out"
    settings = [f"data_dir={folder}", *(f"model.{word}" for word in words), "--out", str(out), "--quiet"]
    assert run(["train", str(folder / "tiny.yaml"), *settings]) == 0
    card = lp.model_card(str(out))
    assert lp.lipschitz_upper_bound(lp.load_model(out)).value <= 1.01
    assert card.architecture is not None and all(word in card.architecture for word in words)
    assert (card.measured.verified_robust_accuracy or {})["0.2"] > 90


@pytest.mark.parametrize("block", BLOCKS)
def test_the_recipe_takes_every_word(block: str) -> None:
    """Equal but for the layer, and in the number of weights within one per cent; AOC's blocks have a third."""
    torch.manual_seed(0)
    model = load_config("cifar10_comparison", [f"model.block={block}"]).model
    built = model.build(input_shape=(3, 32, 32), num_classes=10)
    assert isinstance(built, Comparison)
    assert built(torch.rand(2, 3, 32, 32)).shape == (2, 10)
    expected = 424_000 if block == "aoc" else 570_000
    assert abs(sum(value.numel() for value in built.parameters()) - expected) < 6_000
