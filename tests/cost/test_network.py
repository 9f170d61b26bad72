"""Operations of plain networks: torch's own counter agrees with what the operators say of themselves."""

from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

import lip_plugin as lp
from lip_plugin.cost.network import cost_of_architecture, cost_of_model
from lip_plugin.models.architecture import architecture_config
from lip_plugin.network import CertifiedClassifier

LIRESNET = {"architecture": "liresnet_pp", "depth": 12, "width": 588, "dense_width": 2048, "dense_depth": 8}


def counted(model: CertifiedClassifier, images: int) -> float:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.rand(images, *model.input_shape))
    return counter.get_total_flops() / images


@pytest.mark.parametrize("name", lp.list_models())
def test_the_forward_is_what_torch_counts_and_a_little_for_entries(name: str) -> None:
    model = lp.load_model(name)
    cost = cost_of_model(model)
    assert counted(model, 2) <= cost.forward[torch.float32] <= 1.05 * counted(model, 2)
    assert cost.weights == sum(buffer.numel() * buffer.element_size() for buffer in model.buffers())
    assert cost.certificate == {torch.float32: cost.forward[torch.float32], torch.float64: cost.forward[torch.float32]}


def test_an_architecture_costs_what_it_freezes_into() -> None:
    config = architecture_config({"architecture": "bronet", "width": 16, "depth": 2})
    model = lp.freeze(config.build(input_shape=(3, 32, 32), num_classes=10))
    assert cost_of_architecture(config, input_shape=(3, 32, 32), num_classes=10) == cost_of_model(model)


def test_published_networks_cost_what_their_sizes_say() -> None:
    """Twelve 3x3 convolutions of 588 channels on 16x16 pixels; two 4096x4096 matrices in each of 32 blocks on 256."""
    shape, classes = (3, 224, 224), 1000
    liresnet = cost_of_architecture(architecture_config(LIRESNET), input_shape=shape, num_classes=classes)
    backbone = 2 * 12 * 9 * 588**2 * 256
    assert backbone < liresnet.forward[torch.float32] < 1.03 * backbone
    lipnext = architecture_config({"architecture": "lipnext", "depth": 32, "width": 4096, "patch": 14})
    blocks = 2 * 2 * 32 * 4096**2 * 256
    forward = cost_of_architecture(lipnext, input_shape=shape, num_classes=classes).forward[torch.float32]
    assert blocks < forward < 1.01 * blocks
