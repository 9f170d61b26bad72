"""Training on a device follows the CPU's run.

A GPU may convolve float32 in TF32 (10 bits of mantissa): 2e-3 relative in the first loss, and 5e-2 after eight steps,
each of which starts where the one before has led. On the CPU itself both runs are the same, bit for bit.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import lip_plugin as lp
from lip_plugin.data import ImageSet
from lip_plugin.errors import StoppedError
from lip_plugin.train.checkpoint import load_checkpoint
from lip_plugin.train.config import TrainConfig
from lip_plugin.train.interrupt import StopRequest
from lip_plugin.train.loop import Hooks, train
from lip_plugin.train.precision import computes_in_bfloat16
from lip_plugin.train.state import initial_state
from lip_plugin.train.step import train_step

STEPS = 8
SIZES = {"depth": 2, "width": 32, "dense_width": 16}


def config_on(device: str, **changes: Any) -> TrainConfig:
    values: dict[str, Any] = {
        "dataset": "mnist",
        "model": {"architecture": "liresnet_pp", **SIZES, "dense_depth": 2, "neck_patch": 2},
        "augment": {"crop": 1, "flip": True, "rand_augment": 0.5},
        "eps": 0.1,
        "eps_ramp": (1.0, 1.0),
        "epochs": 2,
        "batch_size": 32,
        "learning_rate": 0.002,
        "device": device,
    }
    return TrainConfig.model_validate({**values, **changes})


@pytest.fixture(scope="module")
def images(halves: Callable[[int, int], ImageSet]) -> ImageSet:
    return halves(256, 3)


def losses(config: TrainConfig, data: ImageSet, device: str) -> list[float]:
    """Of some steps on one batch, from the seed's weights."""
    config = config.model_copy(update={"device": device})
    state = initial_state(config, input_shape=(3, 8, 8), num_classes=2)
    x, y = (tensor.to(device) for tensor in data.first(64).tensors(torch.float32))
    return [float(train_step(config, state, x, y, config.eps)[0]) for _ in range(STEPS)]


@pytest.mark.parametrize("architecture", ["liresnet", "liresnet_pp"])
def test_the_loss_curve_is_near_that_of_the_cpu(architecture: str, images: ImageSet, device: str) -> None:
    config = config_on(device, model={"architecture": architecture, **SIZES})
    expected, found = losses(config, images, "cpu"), losses(config, images, device)
    assert found[0] == pytest.approx(expected[0], rel=2e-3)
    assert found == pytest.approx(expected, rel=5e-2)
    assert found[-1] < 0.8 * found[0]


def test_bfloat16_starts_near_float32_and_learns(images: ImageSet, device: str) -> None:
    exact = losses(config_on(device), images, device)
    rounded = losses(config_on(device, bfloat16=True), images, device)
    assert rounded[0] == pytest.approx(exact[0], rel=5e-2)
    assert rounded[0] != exact[0]
    assert rounded[-1] < 0.8 * rounded[0]
    assert computes_in_bfloat16(torch.device(device)) or device == "cpu"  # what "auto" asks


@pytest.mark.parametrize("settings", [{"weight_average": 0.9}, {"optimiser": "nadam", "lookahead": True}])
def test_a_stopped_run_goes_on_where_it_was(
    settings: dict[str, Any], images: ImageSet, device: str, tmp_path: Path
) -> None:
    """Kernels of a GPU may add in another order each time, hence the slack; the CPU's runs are equal."""
    config = config_on(device, **settings)
    (tmp_path / "whole").mkdir()
    (tmp_path / "cut").mkdir()
    train(config, images, run_dir=tmp_path / "whole")
    request, steps = StopRequest(), [0]

    def stop_in_the_second_epoch(count: int, note: str) -> None:
        steps[0] += 1
        if steps[0] == 11:
            request.received = signal.SIGTERM

    with pytest.raises(StoppedError):
        train(config, images, run_dir=tmp_path / "cut", hooks=Hooks(on_step=stop_in_the_second_epoch, stop=request))
    network = lp.freeze(train(config, images, run_dir=tmp_path / "cut", resume=True))
    whole, cut = (load_checkpoint(tmp_path / name)["losses"] for name in ("whole", "cut"))
    assert cut == pytest.approx(whole, rel=0.0 if device == "cpu" else 5e-2) and len(cut) == 2
    assert network.device.type == device
    x, y = images.tensors(torch.float32)
    assert float((lp.certify(network, x).prediction == y).double().mean()) > 0.9
