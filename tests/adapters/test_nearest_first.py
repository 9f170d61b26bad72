"""The search first, then AutoAttack: on all that stands, or only where the search came close."""

from __future__ import annotations

import pytest
import torch

import lip_plugin as lp
from lip_plugin.evaluate import get_attack
from lip_plugin.testing.linear import linear_problem


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few steps and queries: what is tried is who is attacked, not how strongly."""
    from lip_adapters import autoattack_adapter

    few = {"n_iter": 10, "n_restarts": 1, "n_target_classes": 9, "n_queries": 10}
    monkeypatch.setattr(autoattack_adapter, "_DEFAULTS", few)


@pytest.mark.usefixtures("short")
def test_nearest_first_breaks_and_spares_as_autoattack_does() -> None:
    problem = linear_problem(10, count=6, spread=120)
    image = torch.arange(6).repeat(2)
    factor = torch.tensor([0.98, 1.02], dtype=torch.float64).repeat_interleave(6)
    result = get_attack("nearest-first")(
        problem.model, problem.x[image], problem.y[image], eps=factor * problem.distance[image]
    )
    assert torch.equal(result.success, factor > 1)
    assert set(result.by) == {"", "foolbox:FMN?steps=30"}
    assert bool((result.nearest[result.success] <= 1.02 * problem.distance[image][result.success]).all())


@pytest.mark.usefixtures("short")
def test_adaptive_spends_autoattack_near_eps_alone() -> None:
    """The bracket is sharp on a linear network: 10 % below the boundary 1.05 spares everything, 1.2 nothing."""
    problem = linear_problem(10, count=6)
    y, x = problem.y, problem.x
    for within, attacked in ((1.05, False), (1.2, True)):
        attack = get_attack(f"adaptive?within={within}")
        assert attack.name == f"adaptive?within={within}"
        result = attack(problem.model, x, y, eps=0.9 * problem.distance)
        alone = get_attack("foolbox:FMN?steps=30")(problem.model, x, y, eps=0.9 * problem.distance)
        assert not bool(result.success.any())
        assert (result.forwards > alone.forwards) is attacked
        assert bool((result.nearest / problem.distance).sub(1).abs().max() < 0.02)


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("adaptive?within=0.9", "at least 1"),
        ("adaptive:quick", "no variant"),
        ("nearest-first:quick", "no variant"),
        ("nearest-first?within=1.1", "no setting 'within'"),
        ("adaptive?within=soon", "finite number"),
    ],
)
def test_settings_that_make_no_sense_are_refused(spec: str, said: str) -> None:
    with pytest.raises(lp.ConfigError, match=said):
        get_attack(spec)
