"""LipNeXt: against its formula, its bound from stored weights, and a whole run through the command line."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from torch import Tensor

import lip_plugin as lp
from lip_plugin.cli import run
from lip_plugin.data import ImageSet
from lip_plugin.errors import ConfigError
from lip_plugin.models import LipNeXt
from lip_plugin.network import Conv
from lip_plugin.train.config import TrainConfig
from lip_plugin.train.loop import train
from lip_plugin.train.state import initial_state

Randn = Callable[..., Tensor]
Halves = Callable[[int, int], ImageSet]
RECHECK = Path(__file__).parents[2] / "tools" / "recheck.py"


def built(*, patch: int = 2, shift: float = 0.125, beta: float = 0.5) -> LipNeXt:
    """Of images (3, 8, 12), with positions and biases that are not zero."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = LipNeXt(input_shape=(3, 8, 12), num_classes=4, depth=3, width=20, patch=patch, shift=shift, beta=beta)
        with torch.no_grad():
            model.positions.normal_()
            model.bias.normal_()
    return model


def formula(model: LipNeXt, x: Tensor) -> Tensor:
    """(C, H, W) float64 -> features (D,), position by position, with R, its transpose and M one after the other."""
    size, (height, width) = model.patch, model.map_size
    channels = x.shape[0]
    tokens: dict[tuple[int, int], Tensor] = {}
    for row in range(height):
        for column in range(width):
            patch = x[:, row * size : (row + 1) * size, column * size : (column + 1) * size] - 0.5
            padded = torch.zeros(model.embedding.shape[0], dtype=x.dtype)
            padded[: channels * size**2] = patch.flatten()
            tokens[row, column] = model.embedding.detach() @ padded
    shifted, folded = model.shifted, model.folded
    moves = [(1, 0), (-1, 0), (0, 1), (0, -1)]  # where the number that arrives comes from
    for rotation, mixing, position, bias in zip(
        model.rotations.detach(), model.mixings.detach(), model.positions.detach(), model.bias.detach(), strict=True
    ):
        turned = {at: rotation @ (token + position[0, at[0], at[1]]) for at, token in tokens.items()}
        for row, column in tokens:
            parts = [
                turned[(row + down) % height, (column + right) % width][group * shifted : (group + 1) * shifted]
                for group, (down, right) in enumerate(moves)
            ]
            arrived = torch.cat([*parts, turned[row, column][4 * shifted :]])
            mixed = mixing @ (rotation.T @ arrived) + bias
            tokens[row, column] = torch.cat([mixed[:folded].abs(), mixed[folded:]])
    return torch.stack([*tokens.values()]).square().sum(0).sqrt()


@pytest.mark.parametrize(
    ("patch", "shift", "beta", "moved", "folded"), [(2, 0.125, 0.5, 2, 10), (2, 0.25, 1.0, 5, 20), (1, 0.0, 0.0, 0, 0)]
)
def test_features_are_the_formula(patch: int, shift: float, beta: float, moved: int, folded: int, randn: Randn) -> None:
    model = built(patch=patch, shift=shift, beta=beta).double()
    assert (model.shifted, model.folded) == (moved, folded)
    x = randn(2, 3, 8, 12).sigmoid()
    expected = torch.stack([formula(model, image) for image in x])
    with torch.no_grad():
        torch.testing.assert_close(model.features(x), expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(lp.freeze(model).features(x), expected, rtol=1e-12, atol=1e-12)


def test_a_frozen_block_is_two_convolutions_rounded_once(randn: Randn) -> None:
    """float32 weights: R as it is, and M R^T as near to the product in float64 as float32 can be."""
    model = built()
    convolutions = [layer for layer in lp.freeze(model).layers if isinstance(layer, Conv)]
    assert len(convolutions) == 1 + 2 * 3
    for block in range(3):
        turn, merged = convolutions[1 + 2 * block : 3 + 2 * block]
        assert torch.equal(turn.weight[:, :, 0, 0], model.rotations[block])
        exact = model.mixings[block].detach().double() @ model.rotations[block].detach().double().mT
        assert torch.equal(merged.weight[:, :, 0, 0], exact.float())
    x = randn(5, 3, 8, 12, dtype=torch.float32).sigmoid()
    with torch.no_grad():
        torch.testing.assert_close(lp.freeze(model)(x), model(x), rtol=1e-4, atol=1e-5)


def test_sizes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"patches of 3 x 3 pixels do not tile images of shape \(3, 8, 12\)"):
        built(patch=3)
    with pytest.raises(ConfigError, match="a patch has 48 numbers and width is 20"):
        built(patch=4)


RECIPE = {
    "dataset": "mnist",
    "model": {"architecture": "lipnext", "depth": 2, "width": 24, "patch": 2},
    "eps": 0.1,
    "epochs": 3,
    "batch_size": 20,
    "learning_rate": 0.01,
    "temperature": 0.25,
    "augment": {"crop": 0, "flip": False},
}


def worst_defect(model: torch.nn.Module) -> float:
    """The largest | s - 1 | over the singular values s of every stored matrix."""
    matrices = [value for name, value in model.named_parameters() if name in ("embedding", "rotations", "mixings")]
    assert len(matrices) == 3
    return max(float((torch.linalg.svdvals(value.detach().double()) - 1).abs().max()) for value in matrices)


@pytest.mark.parametrize(
    "settings",
    [{}, {"optimiser": "nadam", "lookahead": True}, {"weight_average": 0.9}, {"bfloat16": True}],
    ids=["adam", "nadam and lookahead", "averaged", "bfloat16"],
)
def test_matrices_are_orthogonal_after_training(settings: dict[str, object], halves: Halves, tmp_path: Path) -> None:
    """To 1e-6 in float32, and the proved bound of the stored weights says so. Training moved every one of them."""
    config = TrainConfig.model_validate({**RECIPE, **settings})
    data = halves(400, 1)
    start = initial_state(config, input_shape=(1, 8, 8), num_classes=10).model
    model = train(config, data, run_dir=tmp_path)
    for name in ("embedding", "rotations", "mixings"):
        moved = model.get_parameter(name).detach() - start.get_parameter(name).detach()
        assert float(moved.abs().max()) > 0.02
    assert worst_defect(model) < 1e-6
    network = lp.freeze(model)
    bound = lp.lipschitz_upper_bound(network)
    assert abs(bound.value - 1) < 1e-6
    x, y = data.tensors(network.dtype)
    certificate = lp.certify(network, x)
    assert lp.verified_robust_accuracy(certificate, y, 0.1) > 0.9


def test_the_end_of_an_epoch_is_what_puts_them_back(
    halves: Halves, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same run without it: what the test above measures can fail."""
    monkeypatch.setattr("lip_plugin.train.grouped.GroupedOptimiser.end_epoch", lambda self: None)
    model = train(TrainConfig.model_validate(RECIPE), halves(400, 1), run_dir=tmp_path)
    assert worst_defect(model) > 1e-6


def test_a_stored_matrix_that_is_not_orthogonal_is_in_the_bound() -> None:
    """Nothing is believed: a stretched matrix, as a stranger's file may hold, is proved to stretch."""
    model = built()
    with torch.no_grad():
        model.rotations[1, 0] *= 1.5
        model.mixings[2] *= 0.5
    bound = lp.lipschitz_upper_bound(lp.freeze(model))
    # R stretches by 1.5, and M R^T with it; M of another block halves.
    assert bound.value == pytest.approx(1.5 * 1.5 * 0.5, rel=1e-5)


def test_a_run_through_the_command_line_is_proved_again(
    halves: Halves, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Trained, certified, loaded, certified again, and re-proved by the checker, which shares no code with us."""
    for split, count in (("train", 200), ("t10k", 40)):
        images = halves(count, 1)
        pixels, labels = images.pixels[:, 0], images.labels
        for name, array in ((f"{split}-images-idx3-ubyte", pixels), (f"{split}-labels-idx1-ubyte", labels)):
            header = bytes([0, 0, 8, array.ndim]) + b"".join(size.to_bytes(4, "big") for size in array.shape)
            (tmp_path / name).write_bytes(header + array.astype(np.uint8).tobytes())
        np.savez(tmp_path / f"{split}.npz", x=pixels[:, None].astype(np.uint8), y=labels)
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump({**RECIPE, "eps_grid": [0.05, 0.1]}))
    out, again = tmp_path / "model", tmp_path / "again"
    assert run(["train", str(tmp_path / "recipe.yaml"), f"data_dir={tmp_path}", "--out", str(out), "--quiet"]) == 0
    assert lp.model_card(str(out)).architecture == "lipnext L2 W24, patches of 2x2 pixels"
    arguments = ["--data", str(tmp_path / "t10k.npz"), "--eps", "0.05", "--out", str(again), "--quiet"]
    assert run(["certify", str(out), *arguments]) == 0
    report = json.loads((again / "report.json").read_text())
    assert report["lipschitz"]["upper_bound"] == pytest.approx(1, abs=1e-6)
    command = [sys.executable, str(RECHECK), str(out), "--data", str(tmp_path / "t10k.npz")]
    command += ["--points", str(again / "points.csv"), "--report", str(again / "report.json")]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (result.returncode, result.stderr) == (0, ""), result.stdout
    assert "40 radii of the library compared" in result.stdout
