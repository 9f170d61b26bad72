"""bfloat16 "auto": what is quicker on the device, settled before the run and written down."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import lip_plugin.train.precision as precision
from lip_plugin.train.config import TrainConfig, load_config, recipe_names
from lip_plugin.train.precision import computes_in_bfloat16, with_settled_precision


def _config(bfloat16: object) -> TrainConfig:
    return TrainConfig.model_validate({"dataset": "mnist", "eps": 0.1, "epochs": 1, "bfloat16": bfloat16})


def test_the_cpu_answers_as_the_kernel_lists_it() -> None:
    """Against /proc/cpuinfo, which says what is emulated, and where there are units for products in bfloat16."""
    info = Path("/proc/cpuinfo")
    if not info.is_file() or "flags" not in info.read_text():
        pytest.skip("no x86 /proc/cpuinfo on this system")
    flags = set(next(line for line in info.read_text().splitlines() if line.startswith("flags")).split())
    if "amx_bf16" in flags or "avx512_bf16" not in flags:
        assert computes_in_bfloat16(torch.device("cpu")) == ("amx_bf16" in flags)


@pytest.mark.parametrize(("seconds", "quicker"), [(0.4, True), (0.79, True), (0.81, False), (2.0, False)])
def test_what_is_quicker_by_a_quarter_is_chosen(seconds: float, quicker: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = {torch.float32: 1.0, torch.bfloat16: seconds}
    monkeypatch.setattr(precision, "seconds_of_product", taken.__getitem__)
    assert computes_in_bfloat16(torch.device("cpu")) is quicker
    assert with_settled_precision(_config("auto")).bfloat16 is quicker


def test_a_choice_is_left_alone() -> None:
    for choice in (True, False):
        assert with_settled_precision(_config(choice)).bfloat16 is choice
    assert not computes_in_bfloat16(torch.device("meta"))


def test_recipes_leave_it_to_the_device_but_for_those_that_say_why() -> None:
    settled = {recipe: load_config(recipe).bfloat16 for recipe in recipe_names()}
    assert {recipe for recipe, choice in settled.items() if choice != "auto"} == {
        "cifar10_small_bronet",
        "fashion_mnist_bronet",
    }
