"""What is certified is what runs: altered, hooked or foreign networks are refused, not certified as something else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import lip_plugin as lp
from lip_plugin.models import CertifiableModel, LiResNetPP
from lip_plugin.network import Conv, Flatten, Head


def network() -> lp.CertifiedClassifier:
    torch.manual_seed(0)
    return lp.wrap(nn.Flatten().eval(), nn.Linear(4, 3).eval(), input_shape=(1, 2, 2))


QUERIES: list[Callable[[lp.CertifiedClassifier, Tensor], Any]] = [
    lambda model, x: lp.certify(model, x),
    lambda model, x: lp.predict(model, x, eps=0.1),
    lambda model, x: lp.lipschitz_upper_bound(model),
    lambda model, x: lp.compare(model, x, torch.zeros(len(x), dtype=torch.int64), eps=0.1),
]


@pytest.mark.parametrize("query", QUERIES, ids=["certify", "predict", "lipschitz", "compare"])
def test_a_hooked_network_is_refused(query: Callable[..., Any]) -> None:
    model, x = network(), torch.rand(2, 1, 2, 2)
    handle = model.register_forward_hook(lambda module, inputs, output: -output)
    with pytest.raises(lp.ConfigError, match="has hooks"):
        query(model, x)
    handle.remove()
    lp.certify(model, x)


def test_a_global_hook_is_refused() -> None:
    model = network()
    handle = nn.modules.module.register_module_forward_hook(lambda module, inputs, output: None)
    try:
        with pytest.raises(lp.ConfigError, match="global"):
            lp.certify(model, torch.rand(1, 1, 2, 2))
    finally:
        handle.remove()


def test_a_subclass_is_refused() -> None:
    class Negated(lp.CertifiedClassifier):
        def forward(self, x: Tensor) -> Tensor:
            return -super().forward(x)

    honest = network()
    with pytest.raises(lp.ConfigError, match="Negated is not a CertifiedClassifier"):
        lp.certify(Negated(honest.operators, honest.head, input_shape=(1, 2, 2)), torch.rand(1, 1, 2, 2))


def test_a_subclass_of_an_operator_is_refused() -> None:
    class Louder(Conv):
        def apply(self, x: Tensor) -> Tensor:
            return 50 * super().apply(x)

    with pytest.raises(lp.UnsupportedLayerError, match="Louder"):
        lp.CertifiedClassifier(
            [Louder(torch.ones(1, 1, 1, 1)), Flatten()], Head(torch.eye(2, 4)), input_shape=(1, 2, 2)
        )


def exchange_activation(model: CertifiableModel) -> None:
    model.get_submodule("backbone").activation = nn.Tanh()


def replace_features(model: CertifiableModel) -> None:
    original = model.features
    model.features = lambda x: 2 * original(x)  # pyright: ignore[reportAttributeAccessIssue]


def change_the_stride(model: CertifiableModel) -> None:
    model.get_submodule("stem.conv").__dict__["stride"] = (1, 1)


@pytest.mark.parametrize("alter", [exchange_activation, replace_features, change_the_stride])
def test_freeze_refuses_a_model_that_computes_something_else(alter: Callable[[CertifiableModel], None]) -> None:
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"depth": 1, "width": 4, "dense_width": 8, "dense_depth": 1, "neck_patch": 2}
    model = LiResNetPP(input_shape=(1, 8, 8), num_classes=3, **sizes)
    lp.freeze(model)
    alter(model)
    with pytest.raises(lp.UnsupportedLayerError, match=r"submodule|replaced features"):
        lp.freeze(model)


def test_a_parent_module_cannot_load_other_weights_into_a_frozen_network() -> None:
    model = network()
    parent = nn.Sequential(model)
    before = model.digest
    with pytest.raises(lp.ConfigError, match="cannot load"):
        parent.load_state_dict({key: 2 * value for key, value in parent.state_dict().items()})
    assert model.digest == before


def test_images_are_certified_in_the_dtype_in_which_they_are_attacked() -> None:
    """A float64 image next to a float32 boundary: both sides speak of the rounded tensor."""
    head = nn.Linear(100, 2, bias=False)
    head.weight.data = torch.stack([torch.ones(100), -torch.ones(100)]) / 10
    features = nn.Sequential(nn.Flatten()).eval()
    model = lp.wrap(features, head.eval(), input_shape=(1, 10, 10))
    x = torch.full((1, 1, 10, 10), 0.5 + 2.9e-8, dtype=torch.float64)
    report = lp.compare(model, x, torch.tensor([0]), eps=1e-7, attacks=["autoattack:apgd-ce"])
    assert float(report.points.certificate.radius) == pytest.approx(float(lp.certify(model, x.float()).radius))


@pytest.mark.parametrize("bad", [[[0.5]], None, "images"])
def test_things_that_are_no_tensors_are_refused(bad: Any) -> None:
    with pytest.raises(lp.DataError, match="dense torch tensor"):
        lp.certify(network(), bad)
    with pytest.raises(lp.DataError, match="labels are a"):
        lp.compare(network(), torch.rand(1, 1, 2, 2), bad, eps=0.1)
