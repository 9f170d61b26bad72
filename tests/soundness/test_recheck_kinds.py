"""The independent checker on every kind of operator: its norms, its values, and whole models that contain one."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from lip_plugin.network import Operator
from lip_plugin.network.operators import ACTIVATIONS, BUILT_IN
from lip_plugin.testing.jacobians import largest_singular_value

from ..network.test_operators import CASES, away_from, draw
from .loading import load_checker, load_tool

recheck, activations = load_tool("recheck"), load_checker("kinds.activations")
KINDS = load_checker("layer").KINDS
REFUSED = frozenset[str]()
"""Kinds of ours that the checker does not know, and says so."""


def test_every_kind_is_proved_or_known_to_be_refused() -> None:
    assert set(KINDS) | REFUSED == BUILT_IN and not set(KINDS) & REFUSED
    assert set(activations.ROWS) == set(ACTIVATIONS)


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


@pytest.mark.parametrize("case", CASES)
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
