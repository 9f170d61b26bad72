"""The independent checker on every kind of operator: its norms, its values, and its rounding."""

from __future__ import annotations

import json
import math
from decimal import Decimal, localcontext
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from lip_plugin.errors import CheckpointError, UnsupportedLayerError
from lip_plugin.network import Operator
from lip_plugin.network.operators import OPERATOR_KINDS
from lip_plugin.testing.jacobians import largest_singular_value

from ..network.test_operators import CASES, away_from, draw
from .checked_models import PROVED
from .loading import load_checker

KINDS = load_checker("layer").KINDS


def _layer(operator: Operator, shape: tuple[int, ...]) -> Any:
    """As it is read from a card."""
    tensors = {name: value.double().numpy() for name, value in operator.tensors().items()}
    return KINDS[operator.kind](json.loads(json.dumps(operator.settings())), tensors, shape)


def _stretch(operator: Operator, x: Tensor) -> float:
    """The largest singular value of the Jacobians at images x, in float64; the largest secant of a function."""
    wide = operator.map_tensors(Tensor.double)
    if operator.kind == "activation":  # torch's derivative of hardsigmoid is a sixth in float32
        points = torch.linspace(-6.0, 6.0, 20_001, dtype=torch.float64)
        return float((wide.apply(points).diff() / points.diff()).abs().max()) * (1 - 1e-11)
    return max(largest_singular_value(wide, one) for one in x.double())


@pytest.mark.parametrize("case", PROVED)
def test_norms_and_values(case: str) -> None:
    make, shape, looseness = CASES[case]
    operator = make()
    layer, x = _layer(operator, shape), away_from(0.0, away_from(0.3, draw(2, *shape, seed=7)))
    bound, _ = layer.bound
    assert (found := _stretch(operator, x)) * (1 - 1e-12) <= bound <= found * looseness
    library = operator.lipschitz_upper_bound(shape).value
    assert library * (1 - 1e-4) <= bound <= library * (1 + 1e-6)
    found, error = layer.apply(x.double().numpy())
    expected = operator.map_tensors(Tensor.double).apply(x.double()).numpy()
    assert found.shape[1:] == layer.out == expected.shape[1:]
    off = np.linalg.norm((found - expected).reshape(2, -1), axis=1)
    assert (off <= 2 * error + 1e-13 * (layer.kind == "l2_pool")).all()
    assert (error <= 1e-10 * np.linalg.norm(expected)).all()


def _exact(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """As rational numbers."""
    return np.array([Fraction(value) for value in values.ravel().tolist()], object).reshape(values.shape)


@pytest.mark.parametrize("case", ["conv, strided, groups", "conv, circular", "transposed conv", "average pool"])
def test_rounding_against_exact_arithmetic(case: str) -> None:
    """Of large numbers that nearly cancel."""
    make, shape, _ = CASES[case]
    layer, rng = _layer(make(), shape), np.random.default_rng(0)
    v = rng.choice([-1e6, 1e6], (1, *shape)) + rng.standard_normal((1, *shape))
    found, error = layer.apply(v)
    convolution = layer.convolution()
    run = convolution.adjoint if layer.kind == "conv_transpose" else convolution.apply
    maps = v.reshape(-1, 1, *shape[1:]) if layer.kind == "avg_pool" else v
    weight = _exact(convolution.weight)
    if layer.kind == "avg_pool":
        weight[...] = Fraction(1, weight.size)
    expected = run(_exact(maps), weight).reshape(found.shape)
    expected = expected + _exact(layer.tensors.get("bias", np.zeros(1)).reshape(-1, 1, 1))
    off = math.sqrt(sum(float(difference) ** 2 for difference in (_exact(found) - expected).ravel()))
    assert 0 < off <= error[0] <= 1e-12 * float(np.linalg.norm(v))


def test_rounding_grows_with_the_layers_after_it() -> None:
    """A sum that cancels, then a factor that adds no error of its own to speak of."""
    rng = np.random.default_rng(0)
    v, weight, factor = rng.standard_normal((1, 6)), rng.standard_normal((1, 6)), np.array([[2.0**20]])
    weight[0, -1] = -(weight[0, :-1] @ v[0, :-1]) / v[0, -1]
    layers = [KINDS["dense"]({}, {"weight": w}, (w.shape[1],)) for w in (weight, factor)]
    found, error = load_checker("chain").follow(layers, [layer.bound[0] for layer in layers], v)
    off = abs(float(Fraction(float(found[0, 0])) - (_exact(v) @ _exact(weight).T)[0, 0] * 2**20))
    assert 0 < off <= error[0] <= 2.0**20 * 1e-13
    assert off > layers[1].apply(found / 2.0**20)[1][0]


def test_rounding_of_l2_pools_against_decimals() -> None:
    layer, v = (
        KINDS["l2_pool"]({"kernel": [3, 2]}, {}, (2, 6, 6)),
        np.random.default_rng(0).standard_normal((1, 2, 6, 6)),
    )
    found, error = layer.apply(v)
    squares = np.array([Decimal(value) ** 2 for value in v.ravel().tolist()], object).reshape(2, 2, 3, 3, 2)
    with localcontext() as context:
        context.prec = 50
        off = [
            float(Decimal(y) - x.sqrt())
            for y, x in zip(found.ravel().tolist(), squares.sum((2, 4)).ravel(), strict=True)
        ]
    assert 0 < float(np.linalg.norm(off)) <= error[0] <= 1e-14


@pytest.mark.parametrize("kernel", range(1, 6))
@pytest.mark.parametrize("dilation", [1, 2, 3])
@pytest.mark.parametrize("stride", [1, 2, 3, 4])
def test_max_pools_stretch_a_peak_by_their_bound(kernel: int, stride: int, dilation: int) -> None:
    """Every window that sees the one large pixel moves with it: on a long map some pixel is seen by as many as ever."""
    settings = {"kernel": [kernel, 1], "stride": [stride, 1], "padding": [0, 0], "dilation": [dilation, 1]}
    layer = KINDS["max_pool"](settings, {}, (1, 40, 1))
    peaks, _ = layer.apply(np.eye(40).reshape(40, 1, 40, 1))
    lengths = np.linalg.norm(peaks.reshape(40, -1), axis=1)
    assert layer.bound[0] * (1 - 1e-11) <= lengths.max() <= layer.bound[0]


def test_dense_layers_are_refused_on_maps() -> None:
    with pytest.raises(ValueError, match="dense with tensors"):
        KINDS["dense"]({}, {"weight": np.ones((2, 6))}, (4, 6, 6))


@pytest.mark.parametrize(
    ("kind", "settings", "sizes"),
    [
        ("offset", {}, {"offset": (1,)}),
        ("offset", {}, {"offset": (4, 6)}),
        ("scale", {}, {"scale": (1,)}),
        ("scale", {}, {"scale": (3, 1, 1)}),
        ("prelu", {}, {"slope": (1,)}),
        ("prelu", {}, {"slope": ()}),
        ("avg_pool", {"kernel": [2, 2], "stride": [2, 2], "padding": [2, 0]}, {}),
        ("max_pool", {"kernel": [2, 2], "stride": [1, 1], "padding": [0, 2], "dilation": [1, 1]}, {}),
        ("frequency_conv", {"padding": [0] * 4, "crop": [2, 2, 0, 0]}, {"factor": (4, 4, 6, 1)}),
        ("frequency_conv", {"padding": [0] * 4, "crop": [0, 0, 0, 7]}, {"factor": (4, 4, 6, 1)}),
        ("spatial_shift", {"channels": 1}, {}),
        ("partial_abs", {"channels": 4}, {}),
        ("l2_pool", {"kernel": [5, 1]}, {}),
        ("convex_potential", {"padding": [1, 0]}, {"weight": (2, 3, 1, 1), "bias": (2,), "scale": (2,)}),
        ("convex_potential", {"padding": [0, 0]}, {"weight": (2, 3, 1, 1), "bias": (1,), "scale": (2,)}),
    ],
)
def test_what_the_library_refuses_is_refused(
    kind: str, settings: dict[str, Any], sizes: dict[str, tuple[int, ...]]
) -> None:
    """NumPy would spread a number over channels, and count a slice that is too long from the other end."""
    shape, tensors = (3, 4, 6), {name: torch.ones(size) for name, size in sizes.items()}
    with pytest.raises((UnsupportedLayerError, CheckpointError)):
        OPERATOR_KINDS[kind].from_parts(settings, tensors).output_shape(shape)
    with pytest.raises((ValueError, IndexError)):
        _ = KINDS[kind](settings, {name: value.numpy() for name, value in tensors.items()}, shape).out


def test_scales_stay_by_themselves_where_a_product_underflows() -> None:
    """It would be off by all of itself, which a later scale makes as large as it likes."""
    layer = KINDS["dense"]({}, {"weight": np.array([[1e-200, 0.0]])}, (2,))
    assert layer.with_rows(np.array([1e-150])) is None and layer.with_columns(np.array([1e300, 1e-200])) is not None
    assert layer.with_columns(np.array([1e-150, 1.0])) is None
    assert layer.with_rows(np.array([0.0])).tensors["weight"].tolist() == [[0.0, 0.0]]
