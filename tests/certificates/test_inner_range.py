"""What overflows or underflows inside an operator, where neither its input nor its output shows it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

import lip_plugin as lp
from lip_plugin.network import (
    Activation,
    CertifiedClassifier,
    Dense,
    Flatten,
    Head,
    Offset,
    Operator,
    Residual,
    RoundingTerm,
    Scale,
)
from lip_plugin.network.operators.chain import chain_term

SINGLE, DOUBLE = torch.float32, torch.float64


def _number(value: float, dtype: torch.dtype) -> Tensor:
    return torch.tensor(value, dtype=dtype)


def _network(operators: Sequence[Operator], head: Head, shape: tuple[int, int, int] = (1, 1, 1)) -> CertifiedClassifier:
    return CertifiedClassifier((Flatten(), *operators), head, input_shape=shape)


def _image(value: float, dtype: torch.dtype) -> Tensor:
    return torch.full((1, 1, 1, 1), value, dtype=dtype)


@pytest.mark.parametrize(
    "dtype, arithmetic, before, factor, count",
    [
        (DOUBLE, "float64", 2.0**250, 2.0**299, 3),
        (DOUBLE, "forward", 2.0**250, 2.0**299, 3),
        (SINGLE, "float32", 2.0**54.875, 2.0**54.875, 18),
    ],
)
def test_radius_ends_where_a_branch_overflows(
    dtype: torch.dtype, arithmetic: str, before: float, factor: float, count: int
) -> None:
    """At the grey image the branch is 0; next to it its middle is infinite, and what comes out no number."""
    branch = (Scale(_number(factor, dtype)),) * count + (Scale(_number(1 / factor, dtype)),) * count
    around = [Offset(_number(-0.5, dtype)), Scale(_number(before, dtype))]
    head = Head(torch.tensor([[1.0], [0.0]], dtype=dtype), torch.tensor([0.0, 0.5], dtype=dtype))
    model = _network([*around, Residual(branch), Scale(_number(1 / before, dtype))], head)
    assert math.isinf(before * (0.6 - 0.5) * factor**count)
    assert float(lp.certify(model, _image(0.5, dtype), arithmetic=arithmetic).radius) < 0.1


def test_overflow_that_a_bounded_function_hides_in_a_branch_is_an_error() -> None:
    """The sum is about -1e309 and its float64 inf: the branch is -1 and its float64 +1."""
    row = torch.cat([torch.full((1024,), 3e306, dtype=DOUBLE), torch.full((1024,), -4.2e306, dtype=DOUBLE)])[None]
    assert float(torch.nn.functional.linear(torch.ones(1, 2048, dtype=DOUBLE), row)) > 0
    branch = (Dense(row), Activation("hardtanh", -1e308, 1e308), Scale(_number(1e-308, DOUBLE)))
    shortcut = (Dense(torch.zeros(1, 2048, dtype=DOUBLE)),)
    head = Head(torch.tensor([[0.0], [1.0]], dtype=DOUBLE))
    model = _network([Residual(branch, shortcut)], head, (1, 32, 64))
    with pytest.raises(lp.DataError, match="overflow"):
        lp.certify(model, torch.ones(1, 1, 32, 64, dtype=DOUBLE))


def test_radius_ends_where_hardswish_overflows_inside() -> None:
    """x relu6(x + 3) / 6 multiplies by 6 first."""
    operators = [Scale(_number(2.0**125.5, SINGLE)), Activation("hardswish"), Scale(_number(2.0**-125.5, SINGLE))]
    model = _network(operators, Head(torch.tensor([[1.0], [-1.0]]), torch.tensor([0.0, 3.0])))
    assert not torch.isfinite(model(_image(1.0, SINGLE))).any()
    assert float(lp.certify(model, _image(0.9, SINGLE), arithmetic="forward").radius) < 0.1


@pytest.mark.parametrize("beta", [2.0**125, 3e38])
def test_radius_ends_where_softplus_overflows_inside(beta: float) -> None:
    operators = [Scale(_number(8.0, SINGLE)), Activation("softplus", beta)]
    model = _network(operators, Head(torch.tensor([[1.0], [-1.0]]), torch.tensor([0.0, 24.0])))
    assert not torch.isfinite(model(_image(1.0, SINGLE))).any()
    try:
        radius = float(lp.certify(model, _image(0.1, SINGLE), arithmetic="forward").radius)
    except lp.ConfigError:
        assert beta >= 2.0**126
    else:
        assert beta < 2.0**126 and radius < 0.9


def test_celu_rounds_by_what_its_quotient_loses() -> None:
    """x / alpha is subnormal, and alpha times what that loses is no longer small."""
    celu, x = Activation("celu", 1e38), torch.tensor([[-1e-7]])
    term = celu.rounding_term((1,), 2.0**-24)
    error = float((celu.apply(x).double() - celu.apply(x.double())).abs())
    assert error > 1e-8
    assert error <= term.relative * 1e-7 + term.absolute


def test_celu_without_an_inverse_of_alpha_is_refused() -> None:
    with pytest.raises(lp.UnsupportedLayerError, match="no inverse"):
        Activation("celu", 1e-39)


def test_terms_of_nested_sums_are_asked_for_once_at_every_depth(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twenty sums inside one another: a million terms where each depth asks twice."""
    asked: list[Operator] = []
    unwatched = Scale.rounding_term

    def watched(operator: Scale, input_shape: tuple[int, ...], unit: float) -> RoundingTerm:
        asked.append(operator)
        return unwatched(operator, input_shape, unit)

    monkeypatch.setattr(Scale, "rounding_term", watched)
    layer: Operator = Scale(_number(0.5, DOUBLE))
    for _ in range(20):
        layer = Residual((layer, Scale(_number(0.5, DOUBLE))))
    chain_term([layer], (1,), 2.0**-53)
    assert len(asked) == 21
