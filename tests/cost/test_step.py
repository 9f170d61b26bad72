"""A training step without numbers costs what the same step with numbers does."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from lip_plugin.cost.step import step_cost
from lip_plugin.errors import ConfigError
from lip_plugin.train.config import load_config
from lip_plugin.train.state import initial_state
from lip_plugin.train.step import train_step

SHAPE, CLASSES, BATCH = (3, 32, 32), 10, 8
SMALL = {
    "cifar10_small": ["model.width=16", "model.depth=2", "model.dense_width=32", "model.dense_depth=1"],
    "cifar10_small_neurips": ["model.width=16", "model.depth=2"],
    "cifar10_small_lipnext": ["model.width=48", "model.depth=2"],
    "cifar10_comparison": ["model.block=cpl", "model.width=8", "model.depth=1"],
}


@pytest.mark.parametrize("recipe", SMALL)
def test_a_step_costs_what_is_measured(recipe: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "benchmarks")
    peak_bytes = importlib.import_module("step_memory").peak_bytes
    config = load_config(recipe, [*SMALL[recipe], f"bfloat16={str(recipe == 'cifar10_small').lower()}"])
    cost = step_cost(config, input_shape=SHAPE, num_classes=CLASSES, batch=BATCH)
    state = initial_state(config, input_shape=SHAPE, num_classes=CLASSES)
    state.model.train()
    x, y = torch.rand(BATCH, *SHAPE), torch.randint(0, CLASSES, (BATCH,))
    train_step(config, state, x, y, config.eps)
    with FlopCounterMode(display=False) as counter:
        train_step(config, state, x, y, config.eps)
    real = counter.get_total_flops()
    assert real * (1 - 1e-9) <= sum(cost.flops(BATCH).values()) <= 1.2 * real + 1e6
    state.optimiser.zero_grad()
    peak = peak_bytes(lambda: train_step(config, state, x, y, config.eps), x.device) + x.nbytes + y.nbytes
    assert cost.peak - cost.lasting == pytest.approx(peak, rel=0.05)
    assert cost.parameters == sum(parameter.numel() for parameter in state.model.parameters())


def test_slow_weights_of_matrices_are_counted_in_the_mean_of_six_steps() -> None:
    """Five Newton-Schulz steps of two products for every matrix, in float64, at the sixth step."""
    settings = [*SMALL["cifar10_small_lipnext"], "optimiser=nadam"]
    with_them, without = (
        step_cost(
            load_config("cifar10_small_lipnext", [*settings, f"lookahead={flag}"]),
            input_shape=SHAPE,
            num_classes=CLASSES,
            batch=BATCH,
        )
        for flag in ("true", "false")
    )
    extra = with_them.per_step[torch.float64] - without.per_step[torch.float64]
    assert extra == pytest.approx(5 * 2 * (2 * 48**3) * (2 * 2 + 1) / 6, rel=1e-6)


def test_what_lasts_is_weights_moments_and_slow_weights() -> None:
    config = load_config("cifar10_small", [*SMALL["cifar10_small"], "optimiser=nadam", "lookahead=true"])
    cost = step_cost(config, input_shape=SHAPE, num_classes=CLASSES, batch=BATCH)
    vectors = 3 * 32**2 + 2 * 16 * 16**2  # of the estimate: stem and blocks
    assert cost.lasting == pytest.approx(4 * (4 * cost.parameters + vectors), rel=0.01)


def test_a_step_of_any_size_takes_no_memory() -> None:
    config = load_config("imagenet_lipnext", ["model.width=4096", "model.depth=2", "bfloat16=true"])
    cost = step_cost(config, input_shape=(3, 224, 224), num_classes=1000, batch=2**16)
    assert cost.peak > 2**40
    blocks, patches, head = 2 * 2 * 4096**2 * 256, 588 * 4096 * 256, 4096 * 1000
    assert cost.per_image[torch.bfloat16] == 2 * (3 * blocks + 2 * patches + 3 * head)  # images take no gradient
    with pytest.raises(ConfigError, match="2 images or more"):
        step_cost(config, input_shape=(3, 224, 224), num_classes=1000, batch=1)
