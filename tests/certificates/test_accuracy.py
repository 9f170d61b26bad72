"""Shares and intervals against numbers worked out by hand."""

from __future__ import annotations

import pytest
import torch

import lip_plugin as lp
from lip_plugin.certificates import certified_at, wilson_interval95


def certificate(radius: list[float], prediction: list[int]) -> lp.Certificate:
    values = torch.tensor(radius, dtype=torch.float64)
    never = torch.zeros(len(radius), dtype=torch.bool)
    return lp.Certificate(torch.tensor(prediction), values, values, never, never, "real", "0" * 64)


def test_vra_counts_correct_points_with_a_strictly_larger_radius() -> None:
    claims = certificate([0.1, 0.25, 0.250001, 0.9], [0, 1, 2, 3])
    labels = torch.tensor([0, 1, 2, 0])
    assert certified_at(claims, labels, 0.25).tolist() == [False, False, True, False]
    assert lp.verified_robust_accuracy(claims, labels, 0.25) == 0.25
    assert lp.verified_robust_accuracy(claims, labels, 0.0) == 0.75


def test_vra_refuses_other_lengths_and_bad_eps() -> None:
    claims = certificate([0.1], [0])
    with pytest.raises(lp.DataError, match="labels"):
        lp.verified_robust_accuracy(claims, torch.tensor([0, 1]), 0.1)
    with pytest.raises(lp.ConfigError, match="eps"):
        lp.verified_robust_accuracy(claims, torch.tensor([0]), -0.1)


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [  # Wilson's formula worked out by hand with z = 1.959964
        (8, 10, 0.490162, 0.943318),
        (0, 20, 0.0, 0.161125),
        (20, 20, 0.838875, 1.0),
        (500, 1000, 0.469069, 0.530931),
    ],
)
def test_wilson_interval(successes: int, trials: int, low: float, high: float) -> None:
    assert wilson_interval95(successes, trials) == pytest.approx((low, high), abs=2e-6)


def test_wilson_interval_refuses_impossible_counts() -> None:
    with pytest.raises(lp.DataError, match="3 of 2"):
        wilson_interval95(3, 2)
