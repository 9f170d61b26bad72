"""The comparison against closed-form distances: every count and status is known beforehand."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import lip_plugin as lp
from lip_plugin.evaluate import EmpiricalAttack

GRID = (0.02, 0.06, 0.12)


def expected_status(correct: bool, distance: float, eps: float) -> str:
    """A linear classifier leaves nothing undecided: the radius is the distance."""
    return "wrong" if not correct else "certified" if distance > eps else "broken"


@pytest.mark.parametrize("skip_certified", [True, False])
def test_status_of_every_image_is_the_closed_form_one(
    linear: Any, gradient_step: EmpiricalAttack, skip_certified: bool
) -> None:
    report = lp.compare(
        linear.model, linear.x, linear.y, eps=GRID, attacks=[gradient_step], audit=0, skip_certified=skip_certified
    )
    correct = (lp.certify(linear.model, linear.x).prediction == linear.y).tolist()
    for eps, result in zip(GRID, report.eps, strict=True):
        expected = [
            expected_status(good, distance, eps)
            for good, distance in zip(correct, linear.distance.tolist(), strict=True)
        ]
        assert list(report.points.status[eps]) == expected
        assert result.counts == {name: expected.count(name) for name in ("wrong", "certified", "broken", "undecided")}
        assert result.verified_robust_accuracy == expected.count("certified") / len(expected)
        assert result.empirical_robust_accuracy == {"gradient-step": expected.count("certified") / len(expected)}
    assert {status for statuses in report.points.status.values() for status in statuses} == {
        "wrong",
        "certified",
        "broken",
    }
    assert report.clean_accuracy == sum(correct) / len(correct)
    assert report.differences == ()


def test_adversarial_distances_are_the_closed_form_ones(linear: Any, gradient_step: EmpiricalAttack) -> None:
    """Bisection pulls every point to within 1e-3 of the boundary; none lies inside its radius."""
    report = lp.compare(linear.model, linear.x, linear.y, eps=0.2, attacks=[gradient_step], audit=0)
    found = torch.isfinite(report.points.distance)
    assert int(found.sum()) > 20
    ratio = report.points.distance[found] / linear.distance[found]
    assert bool((ratio >= 1.0).all())
    assert bool((ratio < 1.001).all()), float(ratio.max())
    smallest = report.audit.smallest_distance_over_radius
    assert smallest == pytest.approx(float((report.points.distance / report.points.certificate.radius)[found].min()))


class Counting(EmpiricalAttack):
    """Finds nothing; remembers which images at which eps it was asked about."""

    name = "counting"

    def __init__(self) -> None:
        self.asked: list[tuple[float, int]] = []

    def run(self, model: nn.Module, x: Tensor, y: Tensor, *, eps: float, seed: int) -> Tensor:
        self.asked.append((eps, len(x)))
        return x


def test_certified_and_wrong_images_are_not_attacked_and_broken_ones_stay_broken(linear: Any) -> None:
    attack = Counting()
    lp.compare(linear.model, linear.x, linear.y, eps=GRID, attacks=[attack], audit=0)
    correct = lp.certify(linear.model, linear.x).prediction == linear.y
    assert attack.asked == [(eps, int((correct & (linear.distance <= eps)).sum())) for eps in GRID]
    everything = Counting()
    lp.compare(linear.model, linear.x, linear.y, eps=GRID, attacks=[everything], audit=0, skip_certified=False)
    assert everything.asked[: len(GRID)] == [(eps, int(correct.sum())) for eps in GRID]


class Seeded(EmpiricalAttack):
    """Random steps of length eps: what it finds depends on nothing but its seed."""

    name = "seeded"

    def run(self, model: nn.Module, x: Tensor, y: Tensor, *, eps: float, seed: int) -> Tensor:
        step = torch.randn(x.shape, generator=torch.Generator().manual_seed(seed))
        return x + eps * step / step.flatten(1).norm(dim=1)[:, None, None, None]


def test_blocks_are_independent_work_units(linear: Any) -> None:
    """The first block of a larger evaluation finds what it finds alone; another seed finds something else."""
    settings: dict[str, Any] = {"eps": (0.3, 0.6), "attacks": [Seeded()], "audit": 0, "batch_size": 16}
    whole = lp.compare(linear.model, linear.x, linear.y, **settings)
    part = lp.compare(linear.model, linear.x[:16], linear.y[:16], **settings)
    other = lp.compare(linear.model, linear.x[:16], linear.y[:16], seed=1, **settings)
    assert torch.equal(whole.points.distance[:16], part.points.distance)
    assert bool(torch.isfinite(part.points.distance).any())
    assert not torch.equal(part.points.distance, other.points.distance)


def test_reports_agree_from_run_to_run(linear: Any) -> None:
    first, second = (
        lp.compare(linear.model, linear.x, linear.y, eps=GRID, attacks=[Seeded()], audit=0) for _ in range(2)
    )
    assert first.eps == second.eps
    assert torch.equal(first.points.distance, second.points.distance)


class FickleWhenAlone(EmpiricalAttack):
    """Succeeds only in large batches: the full protocol breaks more than the certificate-aware one."""

    name = "fickle"

    def run(self, model: nn.Module, x: Tensor, y: Tensor, *, eps: float, seed: int) -> Tensor:
        return torch.zeros_like(x) if len(x) > 30 else x


def test_the_full_protocol_lists_what_the_aware_one_missed() -> None:
    """A network with slack in its bound: undecided for one protocol, broken for the other."""
    torch.manual_seed(0)
    features = nn.Sequential(nn.Flatten(), nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 8)).eval()
    model = lp.wrap(features, nn.Linear(8, 3).eval(), input_shape=(1, 4, 4))
    x = torch.rand(64, 1, 4, 4)
    y = lp.certify(model, x).prediction
    settings: dict[str, Any] = {"eps": 4.0, "attacks": [FickleWhenAlone()], "audit": 0}
    keep = lp.certify(model, x).radius.argsort()[:40]
    full = lp.compare(model, x[keep], y[keep], skip_certified=False, **settings)
    aware = lp.compare(model, x[keep], y[keep], **settings)
    listed = {(one.index, one.certificate_aware, one.full) for one in full.differences}
    pairs = zip(aware.points.status[4.0], full.points.status[4.0], strict=True)
    assert listed == {(index, was, now) for index, (was, now) in enumerate(pairs) if was != now}


def test_without_attacks_it_is_a_proof_alone(linear: Any) -> None:
    """Against the closed form: nothing is broken, certified is correct with a distance above eps."""
    report = lp.compare(linear.model, linear.x, linear.y, eps=(0.05, 0.4), attacks=(), audit=8, seed=3)
    assert (report.attacks, report.stages, report.cost.attack_forwards, report.audit_asked) == ((), (), 0, 0)
    assert report.skipped_certified
    assert lp.compare(linear.model, linear.x, linear.y, eps=0.05, attacks=(), skip_certified=False).skipped_certified
    correct = lp.certify(linear.model, linear.x).prediction == linear.y
    for result in report.eps:
        certified = int((correct & (linear.distance > result.eps)).sum())
        assert result.counts["certified"] == certified
        assert result.counts["undecided"] == int(correct.sum()) - certified


def test_bad_arguments_are_refused_before_any_work(linear: Any, gradient_step: EmpiricalAttack) -> None:
    good: dict[str, Any] = {"eps": 0.1, "attacks": [gradient_step], "audit": 0}
    changes: list[tuple[dict[str, Any], type[Exception], str]] = [
        ({"eps": -0.1}, lp.ConfigError, "at least 0"),
        ({"eps": "a/b"}, lp.ConfigError, "not a number"),
        ({"eps": float("nan")}, lp.ConfigError, "at most"),
        ({"eps": ()}, lp.ConfigError, "no eps"),
        ({"attacks": [gradient_step, gradient_step]}, lp.ConfigError, "differ in name"),
        ({"attacks": ["autoatack"]}, lp.ConfigError, "autoattack"),
        ({"audit": -1}, lp.ConfigError, "audit"),
        ({"audit": "some"}, lp.ConfigError, "audit"),
        ({"batch_size": 0}, lp.ConfigError, "batch_size"),
    ]
    for change, error, message in changes:
        with pytest.raises(error, match=message):
            lp.compare(linear.model, linear.x, linear.y, **{**good, **change})
    with pytest.raises(lp.DataError, match="classes 0 to 4"):
        lp.compare(linear.model, linear.x, linear.y + 5, **good)
    with pytest.raises(lp.DataError, match="no images"):
        lp.compare(linear.model, linear.x[:0], linear.y[:0], **good)


def test_a_report_can_be_described_without_changing_its_findings(linear: Any, gradient_step: EmpiricalAttack) -> None:
    report = lp.compare(linear.model, linear.x, linear.y, eps=0.1, attacks=[gradient_step], audit=0)
    named = report.described(model=dataclasses.replace(report.model, name="linear"))
    assert (named.model.name, report.model.name) == ("linear", "unnamed")
    assert named.eps == report.eps
