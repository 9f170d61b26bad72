"""Units of attacks: who is attacked at which radius, whose forwards those were, and which point is kept."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import lip_plugin as lp
from lip_plugin.evaluate import EmpiricalAttack
from lip_plugin.evaluate.work import _Rows  # pyright: ignore[reportPrivateUsage]
from lip_plugin.testing.linear import linear_problem

GRID = (0.25, 0.5, 1.0)
MASKS = st.lists(st.lists(st.booleans(), min_size=5, max_size=5), min_size=3, max_size=3).filter(
    lambda rows: any(map(any, rows))
)


class _Ray(EmpiricalAttack):
    """Straight to the boundary of a linear network and ``beyond`` it; remembers what it was asked."""

    def __init__(self, *, minimum_norm: bool = False, beyond: float = 1.01) -> None:
        self.name, self.minimum_norm, self._beyond = "ray", minimum_norm, beyond
        self.asked: list[tuple[int, float]] = []

    def run(self, model: Any, x: Tensor, y: Tensor, *, eps: float, seed: int) -> Tensor:
        self.asked.append((len(x), eps))
        x = x.clone().requires_grad_(True)
        logits = model(x)
        label = torch.nn.functional.one_hot(y, logits.shape[1]).bool()
        margin = logits[label] - logits.masked_fill(label, -torch.inf).amax(1)
        (slope,) = torch.autograd.grad(margin.sum(), x)
        factor = self._beyond * margin / slope.flatten(1).square().sum(dim=1)
        return (x - factor[:, None, None, None] * slope).detach()


@given(MASKS, st.integers(0, 10**6), st.integers(1, 7))
def test_rows_are_the_pairs_that_are_asked_for_and_forwards_are_shared_out_whole(
    wanted: list[list[bool]], forwards: int, size: int
) -> None:
    todo = torch.tensor(wanted)
    rows = _Rows.of(todo, GRID, _Ray())
    pairs = [(image, eps) for eps, mask in zip(GRID, wanted, strict=True) for image, on in enumerate(mask) if on]
    assert list(zip(rows.image.tolist(), rows.eps.tolist(), strict=True)) == pairs
    assert torch.equal(torch.cat([part.image for part in rows.split(size)]), rows.image)
    shared = rows.shared_out(forwards).tolist()
    assert sum(shared) == forwards
    exact = [forwards * sum(mask) / len(pairs) for mask in wanted]
    assert all(abs(one - share) < 1 for one, share in zip(shared, exact, strict=True))


@given(MASKS)
def test_a_minimum_norm_attack_sees_an_image_once_at_its_largest_radius(wanted: list[list[bool]]) -> None:
    rows = _Rows.of(torch.tensor(wanted), GRID, _Ray(minimum_norm=True))
    largest = {
        image: max(eps for eps, mask in zip(GRID, wanted, strict=True) if mask[image])
        for image in range(5)
        if any(mask[image] for mask in wanted)
    }
    assert dict(zip(rows.image.tolist(), rows.eps.tolist(), strict=True)) == largest
    assert rows.shares.sum(dim=1).tolist() == [sum(mask) for mask in wanted]


@pytest.mark.parametrize("minimum_norm", [False, True])
@pytest.mark.parametrize("batch_size", [1, 4, 256])
def test_status_at_every_radius_is_that_of_the_distance(minimum_norm: bool, batch_size: int) -> None:
    """Of images at distances 0.3 to 0.9 or so, by the closed form."""
    problem = linear_problem(4, count=9, spread=120)
    grid = tuple(float(problem.distance.quantile(q)) * 1.001 for q in (0.2, 0.5, 0.9))
    attack = _Ray(minimum_norm=minimum_norm, beyond=1.0005)
    report = lp.compare(
        problem.model,
        problem.x,
        problem.y,
        eps=grid,
        attacks=(attack,),
        audit=0,
        batch_size=batch_size,
        skip_certified=False,
    )
    for eps in report.eps:
        broken = [name == "broken" for name in report.points.status[eps.eps]]
        assert broken == (problem.distance * 1.0005 < eps.eps).tolist()
    found = report.points.distance.isfinite()
    assert torch.allclose(report.points.distance[found], problem.distance[found], rtol=1e-4)
    assert max(count for count, _ in attack.asked) <= batch_size
