"""Certificates and comparisons on a device say what those of the CPU say.

Both prove the same constants (on the CPU) and evaluate in float64; what differs is the order of sums, which moves a
radius in its thirteenth digit. 1e-9 relative is far above that, and far below what any float32 or TF32 step would do.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from torch import Tensor

import lip_plugin as lp

DEMO = "LipPlugin2026_LiResNet_Demo"
Images = tuple[Tensor, Tensor]
SLACK = 1e-9


def assert_same(found: lp.Certificate, expected: lp.Certificate) -> None:
    assert found.digest == expected.digest
    assert torch.equal(found.prediction, expected.prediction)
    for name in ("radius", "margin"):
        torch.testing.assert_close(getattr(found, name), getattr(expected, name), rtol=SLACK, atol=1e-12)


def test_moving_a_frozen_network_keeps_what_it_is(demo: lp.CertifiedClassifier, device: str) -> None:
    moved = lp.load_model(DEMO).to(device)
    assert moved.device.type == device and moved.digest == demo.digest
    assert lp.lipschitz_upper_bound(moved).value == pytest.approx(lp.lipschitz_upper_bound(demo).value, rel=SLACK)
    assert moved.to("cpu").digest == demo.digest


@pytest.mark.parametrize("arithmetic", ["real", "float64", "float32", "forward"])
def test_certificates_are_those_of_the_cpu(
    arithmetic: str, demo: lp.CertifiedClassifier, images: Images, device: str
) -> None:
    x, y = images
    expected = lp.certify(demo, x, arithmetic=arithmetic)
    found = lp.certify(lp.load_model(DEMO, device=device), x.to(device), arithmetic=arithmetic)
    assert_same(found, expected)
    assert {column.device.type for column in (found.prediction, found.margin, found.radius)} == {"cpu"}
    accuracy = lp.verified_robust_accuracy(found, y.to(device), 0.25)
    assert accuracy == lp.verified_robust_accuracy(expected, y, 0.25) > 0


def test_batch_size_and_where_the_images_are_do_not_matter(
    demo: lp.CertifiedClassifier, images: Images, device: str
) -> None:
    x, _ = images
    model, expected = lp.load_model(DEMO, device=device), lp.certify(demo, x)
    assert_same(lp.certify(model, x.to(device), batch_size=5), expected)
    assert_same(lp.certify(model, x, batch_size=len(x)), expected)


def test_predictions_are_those_of_the_cpu(demo: lp.CertifiedClassifier, images: Images, device: str) -> None:
    x, _ = images
    expected = lp.predict(demo, x, eps=0.25)
    found = lp.predict(lp.load_model(DEMO, device=device), x.to(device), eps=0.25)
    assert torch.equal(found.label.cpu(), expected.label)
    torch.testing.assert_close(found.radius.cpu(), expected.radius, rtol=SLACK, atol=1e-12)


def test_a_comparison_has_the_proofs_of_the_cpu_and_its_figures_in_order(
    demo: lp.CertifiedClassifier, images: Images, device: str
) -> None:
    """An attack may take another path on another device; what is proved may not change, nor the order of figures."""
    x, y = images
    eps, attack = 0.25, "autoattack:apgd-ce?n_iter=10"
    certificate = lp.certify(demo, x)
    model = lp.load_model(DEMO, device=device)
    report = lp.compare(model, x.to(device), y.to(device), eps=eps, attacks=(attack,), audit=1)
    clean = float((certificate.prediction == y).double().mean())
    assert report.clean_accuracy == clean
    (result,) = report.eps
    assert result.verified_robust_accuracy == lp.verified_robust_accuracy(certificate, y, eps)
    (survived,) = result.empirical_robust_accuracy.values()
    assert 0 < result.verified_robust_accuracy <= survived <= clean
    assert sum(result.counts.values()) == len(x)
    assert report.audit.broken == 0 and report.audit.attacked_certified >= 1


def test_the_command_certifies_on_the_device(lip: Any, images: Images, device: str) -> None:
    arguments = ("certify", "--n", len(images[0]), "--eps", "0.25", "--json", "--quiet")
    expected, found = lip(*arguments), lip(*arguments, "--device", device)
    assert (expected.code, found.code) == (0, 0), found.err
    there, here = json.loads(found.out), json.loads(expected.out)
    assert there["environment"]["device"].startswith(device)
    for key in ("eps", "clean_accuracy"):
        assert there[key] == here[key]
    assert there["model"]["digest"] == here["model"]["digest"]
