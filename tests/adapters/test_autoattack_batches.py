"""All radii and targets in one batch find what the library finds by itself, one radius and target after the other."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

import lip_plugin as lp
from lip_plugin.data import load_shipped
from lip_plugin.evaluate import EmpiricalAttack, get_attack
from lip_plugin.testing.linear import linear_problem

FACTORS = (0.5, 0.97, 1.02, 1.5, 8.0)
"""Radii in units of the distance to the boundary; in as few queries Square breaks at the largest alone."""
SHORT = {
    "apgd-ce": "autoattack:apgd-ce?n_iter=50",
    "apgd-t": "autoattack:apgd-t?n_iter=50",
    "fab-t": "autoattack:fab-t?n_iter=20",
    "square": "autoattack:square?n_queries=300",
    "closest": "foolbox:FMN?steps=60",
}


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "benchmarks")
    return importlib.import_module("plain_autoattack")


def _rows() -> tuple[Any, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Every image at every radius, in one batch."""
    problem = linear_problem(10, count=6, spread=120)
    image = torch.arange(6).repeat(len(FACTORS))
    factor = torch.tensor(FACTORS, dtype=torch.float64).repeat_interleave(6)
    return problem, image, factor, problem.x[image], problem.y[image]


@pytest.mark.parametrize("part", [part for part in SHORT if part != "square"])
def test_each_row_has_a_radius_of_its_own(part: str) -> None:
    problem, image, factor, x, y = _rows()
    result = get_attack(SHORT[part])(problem.model, x, y, eps=factor * problem.distance[image])
    assert torch.equal(result.success, factor > 1)
    assert bool((result.distance[result.success] <= (factor * problem.distance[image])[result.success]).all())
    assert bool((result.distance >= problem.distance[image] * (1 - 1e-6)).all())


def test_square_keeps_its_radii_apart_as_images_fall() -> None:
    problem, image, factor, x, y = _rows()
    eps = factor * problem.distance[image]
    result = get_attack(SHORT["square"])(problem.model, x, y, eps=eps)
    assert bool(result.success[factor == 8.0].all()) and not bool(result.success[factor < 1].any())
    assert bool((result.distance[result.success] <= eps[result.success]).all())


@pytest.mark.parametrize("part", ["apgd-ce", "apgd-t", "fab-t"])
def test_it_breaks_what_the_librarys_own_loop_breaks(plain: ModuleType, part: str) -> None:
    """On the shipped model, whose boundary bends. Where draws decide, on both sides, a few may differ."""
    model = lp.load_model("LipPlugin2026_LiResNet_Demo")
    x, y = load_shipped("fashion_mnist").first(48).tensors(model.dtype)
    radius = lp.certify(model, x).radius
    rows = ((model(x).argmax(dim=1) == y) & (radius < 0.6)).nonzero().squeeze(1)[:8]
    grid = (0.3, 0.6)
    eps = torch.tensor(grid, dtype=torch.float64).repeat_interleave(len(rows))
    attack = get_attack(f"autoattack:{part}?n_iter=25")
    ours = attack(model, x[rows].repeat(2, 1, 1, 1), y[rows].repeat(2), eps=eps).success.view(2, -1)
    theirs = torch.stack([plain.broken(model, x[rows], y[rows], eps, parts=[part], n_iter=25) for eps in grid])
    assert 0 < int(theirs.sum()) < theirs.numel()
    assert int((theirs & ~ours).sum()) <= 1 and int((ours & ~theirs).sum()) <= 2


def test_restarts_and_targets_are_all_spent_on_what_stands() -> None:
    problem, image, _, x, y = _rows()
    eps = 0.5 * problem.distance[image]
    spent = {
        settings: get_attack(f"autoattack:apgd-t?n_iter=5&{settings}")(problem.model, x, y, eps=eps).forwards
        for settings in ("n_target_classes=2", "n_target_classes=4", "n_target_classes=2&n_restarts=2")
    }
    fixed = 2 * len(x)  # the view's scale, and the order of the targets
    one = spent["n_target_classes=2"] - fixed
    assert one == 2 * 6 * len(x) and spent["n_target_classes=4"] - fixed == 2 * one
    assert spent["n_target_classes=2&n_restarts=2"] - fixed == 2 * one


class _Steps(EmpiricalAttack):
    """Knows one radius for all."""

    name = "steps"

    def __init__(self) -> None:
        self.asked: list[tuple[float, int]] = []

    def run(self, model: Any, x: torch.Tensor, y: torch.Tensor, *, eps: float, seed: int) -> torch.Tensor:
        self.asked.append((eps, len(x)))
        return x


def test_an_attack_of_one_radius_is_asked_radius_by_radius_and_a_minimum_norm_one_once() -> None:
    problem, _, factor, x, y = _rows()
    attack = _Steps()
    attack(problem.model, x, y, eps=factor)
    assert attack.asked == [(eps, 6) for eps in FACTORS]
    attack.asked.clear()
    attack.minimum_norm = True
    attack(problem.model, x, y, eps=factor)
    assert attack.asked == [(8.0, len(x))]


@pytest.mark.parametrize("eps", [torch.tensor([0.1, 0.2]), torch.tensor([-0.1] * 30), torch.tensor([torch.nan] * 30)])
def test_radii_that_are_not_one_for_each_image_are_refused(eps: torch.Tensor) -> None:
    problem, _, _, x, y = _rows()
    with pytest.raises(lp.ConfigError, match="expected a radius >= 0, or one for each image"):
        _Steps()(problem.model, x, y, eps=eps)
