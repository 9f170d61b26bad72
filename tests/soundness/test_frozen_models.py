"""Trainable models given to `lp.freeze`: altered ones are refused; training on does not reach the frozen network."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn.utils import prune

import lip_plugin as lp
from lip_plugin.models import CertifiableModel

from .closed_form import trainable


def _doubled(method: Callable[[], Tensor]) -> Callable[[], Tensor]:
    return lambda: 2 * method()


MODELS: dict[str, tuple[Callable[[CertifiableModel], object], str]] = {
    "merged weight of the head": (
        lambda model: vars(model.head).update(merged_weight=_doubled(model.head.merged_weight)),
        "replaced merged_weight",
    ),
    "freeze_operators": (lambda model: vars(model).update(freeze_operators=lambda: ()), "replaced freeze_operators"),
    "forward": (lambda model: vars(model).update(forward=lambda x: -x), "replaced forward"),
    "half": (torch.nn.Module.half, "one dtype|float32 or float64"),
    "bfloat16": (torch.nn.Module.bfloat16, "one dtype|float32 or float64"),
    "pruned": (
        lambda model: prune.l1_unstructured(model.get_submodule("stem.conv"), "weight", amount=0.5),
        "stem.conv .*has hooks",
    ),
    "compiled": (lambda model: vars(model).update(_compiled_call_impl=lambda x: -x), "replaced call"),
}


@pytest.mark.parametrize("name", MODELS)
def test_a_trainable_model_that_is_not_what_its_class_says_cannot_be_frozen(name: str) -> None:
    alter, words = MODELS[name]
    model = trainable()
    assert lp.freeze(model).num_classes == 3
    alter(model)
    with pytest.raises(lp.UnsupportedLayerError, match=words):
        lp.freeze(model)


def test_training_on_does_not_reach_the_frozen_network() -> None:
    model, x = trainable(), torch.rand(2, 1, 8, 8)
    frozen = lp.freeze(model)
    digest, logits, radius = frozen.digest, frozen(x), lp.certify(frozen, x).radius
    model(x).square().sum().backward()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.grad is not None:
                parameter.sub_(0.1 * parameter.grad)
    assert not torch.allclose(lp.freeze(model)(x), logits, atol=1e-3), "the step must matter"
    assert frozen.digest == digest
    assert torch.equal(frozen(x), logits) and torch.equal(lp.certify(frozen, x).radius, radius)
