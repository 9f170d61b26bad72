"""bfloat16 "auto": what the device has instructions for, settled before the run and written down."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from lip_plugin.train.config import TrainConfig, load_config, recipe_names
from lip_plugin.train.precision import computes_in_bfloat16, with_settled_precision


def _config(bfloat16: object) -> TrainConfig:
    return TrainConfig.model_validate({"dataset": "mnist", "eps": 0.1, "epochs": 1, "bfloat16": bfloat16})


def test_the_cpu_answers_as_the_kernel_lists_it() -> None:
    """Against /proc/cpuinfo, which torch does not read."""
    info = Path("/proc/cpuinfo")
    if not info.is_file() or "flags" not in info.read_text():
        pytest.skip("no x86 /proc/cpuinfo on this system")
    flags = set(next(line for line in info.read_text().splitlines() if line.startswith("flags")).split())
    assert computes_in_bfloat16(torch.device("cpu")) == bool(flags & {"avx512_bf16", "amx_tile"})


@pytest.mark.parametrize("names", [(), ("_is_avx512_bf16_supported",), ("_is_amx_tile_supported",)])
def test_either_kind_of_instruction_will_do_and_a_lost_name_means_float32(
    names: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.setattr(torch.cpu, name, (lambda: True) if name in names else (lambda: False), raising=False)
    assert computes_in_bfloat16(torch.device("cpu")) == bool(names)
    assert with_settled_precision(_config("auto")).bfloat16 is bool(names)
    for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.delattr(torch.cpu, name)
    assert not computes_in_bfloat16(torch.device("cpu"))


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
