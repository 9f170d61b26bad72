"""Composition of bounds against explicit operators."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

import lip_plugin as lp
from lip_plugin.network import CertifiedClassifier, Dense, Flatten, Head, Scale


def jacobian_norm(module: nn.Module, shape: tuple[int, ...]) -> float:
    """Largest singular value of a linear module, from its explicit matrix."""
    size = math.prod(shape)
    with torch.no_grad():
        zero = module(torch.zeros(1, *shape, dtype=torch.float64)).flatten()
        columns = [module(basis.view(1, *shape)).flatten() - zero for basis in torch.eye(size, dtype=torch.float64)]
    return float(torch.linalg.matrix_norm(torch.stack(columns, dim=1), ord=2))


def test_module_bound_is_the_product_of_the_layer_norms() -> None:
    torch.manual_seed(0)
    conv, pool, dense = nn.Conv2d(2, 4, 3, stride=2, padding=1), nn.AvgPool2d(2), nn.Linear(16, 5)
    module = nn.Sequential(conv, nn.ReLU(), pool, nn.Flatten(), dense).double().eval()
    bound = lp.lipschitz_upper_bound(module, input_shape=(2, 8, 8))
    norms = [jacobian_norm(conv, (2, 8, 8)), jacobian_norm(pool, (4, 4, 4)), jacobian_norm(dense, (16,))]
    assert bound.value >= math.prod(norms) * (1 - 1e-12)
    assert bound.value == pytest.approx(math.prod(norms), rel=1e-6)
    assert [layer.name for layer in bound.layers] == [
        "00 conv",
        "01 activation",
        "02 avg_pool",
        "03 flatten",
        "04 dense",
    ]


def test_pair_bound_is_feature_bound_times_row_distance() -> None:
    torch.manual_seed(1)
    model = lp.wrap(nn.Sequential(nn.Flatten(), nn.Linear(12, 7)).eval(), nn.Linear(7, 4).eval(), input_shape=(3, 2, 2))
    pair = lp.pair_lipschitz_upper_bound(model)
    feature = float(torch.linalg.matrix_norm(model.operators[1].tensors()["weight"].double(), ord=2))
    rows = model.head_weight.double()
    expected = feature * (rows[:, None] - rows).norm(dim=2)
    assert bool((pair >= expected * (1 - 1e-12)).all())
    torch.testing.assert_close(pair, expected, rtol=1e-7, atol=0)
    assert pair.diagonal().tolist() == [0.0] * 4


def test_a_module_needs_an_input_shape_and_known_layers() -> None:
    with pytest.raises(lp.ConfigError, match="input_shape"):
        lp.lipschitz_upper_bound(nn.Linear(3, 3).eval())
    with pytest.raises(lp.UnsupportedLayerError, match="LayerNorm"):
        lp.lipschitz_upper_bound(nn.LayerNorm(3).eval(), input_shape=(3, 1, 1))


def test_non_finite_weights_are_refused() -> None:
    dense = nn.Linear(3, 3).eval()
    dense.weight.data[0, 0] = torch.inf
    with pytest.raises(lp.UnsupportedLayerError, match=r"infinite|finite"):
        lp.lipschitz_upper_bound(nn.Sequential(nn.Flatten(), dense).eval(), input_shape=(3, 1, 1))


def test_scales_are_not_put_together_where_their_product_underflows() -> None:
    """1e-85 times 1e-240 is below the floats and 1e240 brings it back: the norm is 1e-85, as the run shows."""

    def number(value: float) -> torch.Tensor:
        return torch.tensor(value, dtype=torch.float64)

    scales = [Scale(number(1e-80))] * 3 + [Scale(number(1e80))] * 3
    operators = [Flatten(), *scales, Dense(number(1e-85).view(1, 1))]
    head = Head(torch.tensor([[0.0], [1e85]], dtype=torch.float64), torch.tensor([0.5, 0.0], dtype=torch.float64))
    model = CertifiedClassifier(operators, head, input_shape=(1, 1, 1))
    assert lp.lipschitz_upper_bound(model).value >= 1e-85
    near, far = (torch.full((1, 1, 1, 1), value, dtype=torch.float64) for value in (0.2, 0.9))
    certificate = lp.certify(model, near)
    assert int(model(far).argmax()) != int(certificate.prediction)
    assert 0.29 < float(certificate.radius) < 0.31


def test_scales_are_put_together_past_one_that_is_left_out() -> None:
    """The second would underflow in the weight and is bounded by itself; the first and the third are in the weight."""
    weight = torch.tensor([[1e-200]], dtype=torch.float64)
    values = [torch.tensor(value, dtype=torch.float64) for value in (0.5, 1e-150, 4e150)]
    operators = [Flatten(), *map(Scale, values), Dense(weight)]
    head = Head(torch.tensor([[0.0], [1.0]], dtype=torch.float64))
    value = lp.lipschitz_upper_bound(CertifiedClassifier(operators, head, input_shape=(1, 1, 1))).value
    assert 2e-200 <= value <= 2e-200 * (1 + 1e-12)
