"""Networks whose activations leave the range of float64: refused or capped, never certified wrongly."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import lip_plugin as lp
from lip_plugin.network import Activation, Dense, Flatten, Head, L2Pool, Scale, float64_logits


def test_an_overflow_that_relu_would_hide_is_refused() -> None:
    """-inf through ReLU is an innocent 0: the logits alone would not show it, and the class would be wrong."""
    norm = nn.BatchNorm2d(1, eps=0.0).double()
    norm.weight.data.fill_(4.8e307)
    norm.bias.data.fill_(-2.4e307)
    features = nn.Sequential(norm, nn.AvgPool2d(5), nn.ReLU(), nn.Flatten()).eval()
    head = nn.Linear(1, 2).double()
    head.weight.data = torch.tensor([[2e-306], [0.0]], dtype=torch.float64)
    head.bias.data = torch.tensor([-1.0, 0.0], dtype=torch.float64)
    model = lp.wrap(features, head.eval(), input_shape=(1, 5, 5))
    x = torch.tensor([0.0] * 12 + [1.0] * 13, dtype=torch.float64).view(1, 1, 5, 5)
    with pytest.raises(lp.LipPluginError, match=r"overflow"):
        lp.certify(model, x)


def test_float64_radii_end_where_an_activation_could_overflow() -> None:
    """L2 pooling squares 1e160: at 0.4 from the image the float64 program gives another class than the exact one."""
    double: dict[str, Any] = {"dtype": torch.float64}
    operators = [
        Scale(torch.tensor(1e160, **double)),
        L2Pool((2, 2)),
        Flatten(),
        Dense(torch.tensor([[-1e-160]], **double), torch.tensor([5.0], **double)),
        Activation("relu"),
    ]
    head = Head(torch.tensor([[1.0], [0.0]], **double), torch.tensor([-3.0, 0.0], **double))
    model = lp.CertifiedClassifier(operators, head, input_shape=(1, 2, 2))
    x = torch.zeros(1, 1, 2, 2, **double)
    assert int(float64_logits(model, x + 0.2).argmax()) == 1 != int(lp.certify(model, x).prediction)
    with pytest.raises(lp.ConfigError, match=r"2\^300"):
        lp.certify(model, x, arithmetic="float64")


def test_float64_radii_are_capped_by_the_room_that_is_left() -> None:
    """Weights below 2^300 whose product reaches it: the radius ends before any activation could."""
    big = torch.full((), 2.0**160, dtype=torch.float64)
    head = Head(torch.tensor([[2.0**-320], [0.0]], dtype=torch.float64), torch.tensor([1.0, 0.0], dtype=torch.float64))
    model = lp.CertifiedClassifier([Scale(big), Scale(big), Flatten()], head, input_shape=(1, 1, 1))
    x = torch.zeros(1, 1, 1, 1, dtype=torch.float64)
    assert float(lp.certify(model, x).radius) == pytest.approx(1.0)
    assert float(lp.certify(model, x, arithmetic="float64").radius) <= 2.0**300 / 2.0**320


def test_pair_bounds_of_different_rows_never_underflow_to_zero() -> None:
    head = Head(torch.tensor([[1e-165], [0.0]], dtype=torch.float64), torch.zeros(2, dtype=torch.float64))
    dense = Dense(torch.tensor([[1e-165]], dtype=torch.float64))
    model = lp.CertifiedClassifier([Flatten(), dense], head, input_shape=(1, 1, 1))
    pair = lp.pair_lipschitz_upper_bound(model)
    assert float(pair[0, 1]) > 0
    assert float(pair[0, 0]) == 0


def test_a_product_of_bounds_that_overflows_is_refused() -> None:
    scales = [Scale(torch.tensor(1e80, dtype=torch.float64)) for _ in range(5)]
    head = Head(torch.eye(2, 1, dtype=torch.float64))
    model = lp.CertifiedClassifier([*scales, Flatten()], head, input_shape=(1, 1, 1))
    with pytest.raises(lp.UnsupportedLayerError, match="overflows"):
        lp.lipschitz_upper_bound(model)


def test_a_bias_that_is_not_finite_is_refused() -> None:
    head = Head(torch.eye(2, 4), torch.tensor([0.0, torch.nan]))
    model = lp.CertifiedClassifier([Flatten()], head, input_shape=(1, 2, 2))
    with pytest.raises(lp.UnsupportedLayerError, match="bias has NaN"):
        lp.pair_lipschitz_upper_bound(model)
