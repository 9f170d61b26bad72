"""Canaries: closed-form networks whose radii are inflated by 1 % must make the audit fail."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch

import lip_plugin as lp
from lip_plugin.evaluate import EmpiricalAttack, Request, compare_certified
from lip_plugin.evaluate.attacks import get_attack
from lip_plugin.evaluate.audit import audit_mask


def inflated(certificate: lp.Certificate, factor: float) -> lp.Certificate:
    return dataclasses.replace(certificate, radius=certificate.radius * factor)


def plan(*attacks: EmpiricalAttack, eps: tuple[float, ...], audit: int | None, skip_certified: bool = True) -> Request:
    return Request(eps=eps, attacks=attacks, audit=audit, skip_certified=skip_certified)


@pytest.fixture(params=["linear", "orthogonal"])
def canary(request: pytest.FixtureRequest) -> Any:
    return request.getfixturevalue(request.param)


def test_autoattack_catches_radii_inflated_by_one_percent(canary: Any) -> None:
    """The default audit and AutoAttack's cheap half, 8 certified images: honest radii pass, 1.01x fails."""
    honest = lp.certify(canary.model, canary.x)
    attacks = [get_attack("autoattack:apgd-ce"), get_attack("autoattack:apgd-t")]
    eps = (float(honest.radius.median()),)
    report = compare_certified(canary.model, canary.x, canary.y, honest, plan(*attacks, eps=eps, audit=8))
    assert report.status == "ok"
    assert report.audit.attacked_certified == 8
    smallest = report.audit.smallest_distance_over_radius
    assert smallest is not None
    assert 1.0 <= smallest < 1.01
    with pytest.raises(lp.SoundnessError, match="unsound certificate") as caught:
        compare_certified(canary.model, canary.x, canary.y, inflated(honest, 1.01), plan(*attacks, eps=eps, audit=8))
    failed = caught.value.report
    assert isinstance(failed, lp.Report)
    assert failed.status == "failed"
    assert failed.audit.broken == len(failed.problems) >= 1
    broken = torch.isfinite(failed.points.distance) & (failed.points.distance < failed.points.certificate.radius)
    for index in broken.nonzero().squeeze(1).tolist():  # a contradicted point is nowhere called certified
        assert all(statuses[index] != "certified" for statuses in failed.points.status.values())


def test_the_audit_alone_catches_a_certified_point_that_breaks(canary: Any) -> None:
    """At an eps between the true and the inflated radius of one image, only certified images are left to attack."""
    honest = lp.certify(canary.model, canary.x)
    correct = honest.prediction == canary.y
    radius = float(honest.radius[correct].min())
    eps = (radius * 1.005,)
    attack = get_attack("autoattack:apgd-ce")
    with pytest.raises(lp.SoundnessError, match="unsound"):
        compare_certified(canary.model, canary.x, canary.y, inflated(honest, 1.01), plan(attack, eps=eps, audit=8))
    unaudited = compare_certified(
        canary.model, canary.x, canary.y, inflated(honest, 1.01), plan(attack, eps=eps, audit=0)
    )
    assert unaudited.status == "ok"  # nobody looked: this is what the audit is for
    with pytest.raises(lp.SoundnessError):
        full = plan(get_attack("autoattack:apgd-t"), eps=eps, audit=0, skip_certified=False)
        compare_certified(canary.model, canary.x, canary.y, inflated(honest, 1.01), full)


def test_distances_of_undecided_images_are_held_against_their_radii(
    linear: Any, gradient_step: EmpiricalAttack
) -> None:
    """No certified image is attacked, and still an inflated radius is caught, by its own image's distance."""
    honest = lp.certify(linear.model, linear.x)
    eps = (2.0 * float(honest.radius.max()),)
    assert (
        compare_certified(linear.model, linear.x, linear.y, honest, plan(gradient_step, eps=eps, audit=0)).status
        == "ok"
    )
    with pytest.raises(lp.SoundnessError, match="radius"):
        compare_certified(
            linear.model, linear.x, linear.y, inflated(honest, 1.01), plan(gradient_step, eps=eps, audit=0)
        )


def test_the_audit_takes_the_certified_images_with_the_smallest_radii() -> None:
    certified = torch.tensor([True, False, True, True, True])
    radius = torch.tensor([0.5, 0.1, 0.3, 0.9, 0.3], dtype=torch.float64)
    assert audit_mask(certified, radius, 2).tolist() == [False, False, True, False, True]
    assert audit_mask(certified, radius, 99).tolist() == certified.tolist()
    assert audit_mask(certified, radius, None).tolist() == certified.tolist()
    assert not audit_mask(certified, radius, 0).any()
