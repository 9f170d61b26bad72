"""Lipschitz bounds of operators: above the explicit Jacobian's norm, above every pair found, and not far above."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from lip_plugin.bounds import NormBound
from lip_plugin.network import (
    Activation,
    AvgPool,
    CertifiedClassifier,
    Conv,
    L2Pool,
    MaxPool,
    MinMax,
    Operator,
    Residual,
)

Randn = Callable[..., Tensor]
Search = Callable[[Callable[[Tensor], Tensor], Tensor], float]


def _largest_singular_value(operator: Operator, shape: tuple[int, ...]) -> float:
    """Of an affine operator's explicit Jacobian: the images of the unit vectors, less the image of 0."""
    basis = torch.eye(torch.Size(shape).numel(), dtype=torch.float64).view(-1, *shape)
    columns = operator.apply(basis) - operator.apply(torch.zeros(1, *shape, dtype=torch.float64))
    return float(torch.linalg.svdvals(columns.flatten(1))[0])


def _assert_tight(operator: Operator, shape: tuple[int, ...], looseness: float) -> None:
    exact = _largest_singular_value(operator, shape)
    bound = operator.lipschitz_upper_bound(shape)
    assert exact * (1 - 1e-12) <= bound.value <= exact * (1 + looseness)
    assert bound.method


@given(
    groups=st.integers(1, 2),
    kernel=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    stride=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    padding=st.tuples(*[st.integers(0, 2)] * 4),
    dilation=st.tuples(st.integers(1, 2), st.integers(1, 2)),
    mode=st.sampled_from(["zeros", "circular"]),
    seed=st.integers(0, 100),
)
def test_any_convolution_is_bounded(
    groups: int,
    kernel: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int, int, int],
    dilation: tuple[int, int],
    mode: str,
    seed: int,
    randn: Randn,
) -> None:
    weight = randn(2 * groups, 2, *kernel, seed=seed)
    _assert_tight(Conv(weight, None, stride, padding, dilation, groups, mode), (2 * groups, 5, 6), 1e-6)


@given(
    kernel=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    stride=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    padded=st.booleans(),
)
def test_any_average_pool_is_bounded(kernel: tuple[int, int], stride: tuple[int, int], padded: bool) -> None:
    padding = (kernel[0] // 2, kernel[1] // 2) if padded else (0, 0)
    _assert_tight(AvgPool(kernel, stride, padding), (2, 6, 5), 1e-6)


NONLINEAR: dict[str, tuple[Operator, float]] = {
    # name: (operator, its exact constant on the map below)
    "max pool disjoint": (MaxPool((2, 2), (2, 2)), 1.0),
    "max pool overlapping": (MaxPool((3, 3), (1, 1), (1, 1)), 3.0),
    "max pool rows": (MaxPool((3, 2), (2, 2)), math.sqrt(2)),
    "max pool dilated": (MaxPool((2, 2), (1, 1), (0, 0), (2, 2)), 2.0),
    "l2 pool": (L2Pool((2, 2)), 1.0),
    "minmax": (MinMax(), 1.0),
    "relu": (Activation("relu"), 1.0),
    "abs": (Activation("abs"), 1.0),
    "tanh": (Activation("tanh"), 1.0),
    "sigmoid": (Activation("sigmoid"), 0.25),
    "leaky relu": (Activation("leaky_relu", 0.3), 1.0),
    "leaky relu steep": (Activation("leaky_relu", -2.5), 2.5),
    "elu": (Activation("elu", 0.5), 1.0),
    "elu steep": (Activation("elu", 3.0), 3.0),
    "elu negative": (Activation("elu", -2.0), 2.0),
}


@pytest.mark.parametrize("name", NONLINEAR)
def test_nonlinear_operators(name: str, randn: Randn, searched_lipschitz: Search) -> None:
    """No pair exceeds the bound; the search comes close to the exact constant, so the bound is not loose either."""
    operator, exact = NONLINEAR[name]
    bound = operator.lipschitz_upper_bound((2, 6, 6)).value
    assert exact <= bound <= exact * (1 + 1e-12)
    found = searched_lipschitz(operator.apply, randn(4, 2, 6, 6))
    assert 0.3 * exact < found <= bound * (1 + 1e-9)


@pytest.mark.parametrize("name", [name for name in NONLINEAR if name.startswith("max pool")])
def test_one_raised_pixel_reaches_the_max_pool_bound(name: str) -> None:
    operator, _ = NONLINEAR[name]
    pixels = torch.eye(36, dtype=torch.float64).view(36, 1, 6, 6)
    reached = float(torch.linalg.vector_norm(operator.apply(pixels).flatten(1), dim=1).max())
    assert reached == pytest.approx(operator.lipschitz_upper_bound((1, 6, 6)).value, rel=1e-12)


@pytest.mark.parametrize("function", ["relu", "abs", "tanh", "sigmoid", "leaky_relu", "elu"])
@pytest.mark.parametrize("parameter", [-3.0, -0.5, 0.0, 0.4, 2.0])
def test_activation_constant_is_the_largest_slope(function: str, parameter: float) -> None:
    x = torch.linspace(-8, 8, 160_001, dtype=torch.float64)
    y = Activation(function, parameter).apply(x)
    steepest = float(((y[1:] - y[:-1]) / (x[1:] - x[:-1])).abs().max())
    bound = Activation(function, parameter).lipschitz_upper_bound((1,)).value
    assert steepest * (1 - 1e-9) <= bound <= steepest * (1 + 1e-3)


def test_product_of_a_whole_network_is_never_exceeded(
    network: CertifiedClassifier, randn: Randn, searched_lipschitz: Search
) -> None:
    product = 1.0
    for operator, shape in zip(network.operators, network.layer_input_shapes, strict=False):
        product *= operator.lipschitz_upper_bound(shape).value
    found = searched_lipschitz(network.features, randn(4, 3, 8, 8))
    assert 0 < found <= product


def test_operators_inside_a_residual_are_proved_once(monkeypatch: pytest.MonkeyPatch, randn: Randn) -> None:
    proved: list[int] = []
    unwatched = Conv.lipschitz_upper_bound

    def watched(operator: Conv, input_shape: tuple[int, ...]) -> NormBound:
        proved.append(operator.weight.shape[2])
        return unwatched(operator, input_shape)

    monkeypatch.setattr(Conv, "lipschitz_upper_bound", watched)
    inner = [Conv(0.3 * randn(2, 2, k, k, seed=k), padding=(k // 2, k // 2, k // 2, k // 2)) for k in (3, 5)]
    residual = Residual((inner[0], MinMax(), inner[1]))
    first = residual.lipschitz_upper_bound((2, 6, 6)).value
    residual.rounding_term((2, 6, 6), 2.0**-53)
    residual.float32_rounding((2, 6, 6))
    assert sorted(proved) == [3, 5]
    inner[1].weight.mul_(2.0)
    assert residual.lipschitz_upper_bound((2, 6, 6)).value > 1.5 * first  # changed weights are proved anew


def test_a_class_that_inherits_a_kind_leaves_no_bound_behind(randn: Randn) -> None:
    """What was proved is kept by kind, settings and bytes, and by whose it was."""

    class Understated(Conv):
        def lipschitz_upper_bound(self, input_shape: tuple[int, ...]) -> NormBound:
            return NormBound(1e-9, "made up")

    weight = randn(2, 2, 3, 3, seed=21)
    one, other = (kind(weight, padding=(1, 1, 1, 1)) for kind in (Understated, Conv))
    understated = Residual((Residual((one,)),)).lipschitz_upper_bound((2, 6, 6)).value
    genuine = Residual((Residual((other,)),)).lipschitz_upper_bound((2, 6, 6)).value
    assert understated < 2.1
    assert genuine > 2.0 + float(torch.linalg.matrix_norm(weight.flatten(1), ord=2))
