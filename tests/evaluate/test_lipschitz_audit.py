"""The search against the Lipschitz bound: what it finds is true, and it finds what is there."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import lip_plugin as lp
from lip_plugin.evaluate import Request, evaluate_images, lipschitz_audit
from lip_plugin.evaluate.certified import given_images
from lip_plugin.network import float64_program

SHAPE = (1, 6, 6)


def images(count: int = 4) -> Tensor:
    return torch.rand(count, *SHAPE, generator=torch.Generator().manual_seed(0))


def small_network(activation: nn.Module) -> lp.CertifiedClassifier:
    torch.manual_seed(0)
    features = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), activation, nn.Conv2d(4, 4, 3, stride=2), nn.ReLU(), nn.Flatten()
    )
    return lp.wrap(features.eval(), nn.Linear(16, 3).eval(), input_shape=SHAPE)


def linear_network() -> tuple[lp.CertifiedClassifier, float]:
    """Affine features of a known norm."""
    torch.manual_seed(1)
    first, second = nn.Linear(36, 12), nn.Linear(12, 8)
    layers = nn.Sequential(nn.Flatten(), first, second)
    product = second.weight.detach().double() @ first.weight.detach().double()
    model = lp.wrap(layers.eval(), nn.Linear(8, 3).eval(), input_shape=SHAPE)
    return model, float(torch.linalg.svdvals(product)[0])


def test_the_constant_of_an_affine_map_is_found_from_below() -> None:
    model, norm = linear_network()
    audit = lp.audit_lipschitz(model, images())
    assert norm * (1 - 1e-5) <= audit.lower_bound <= norm <= audit.upper_bound
    assert not audit.contradicted


@pytest.mark.parametrize("activation", [nn.ReLU(), nn.Tanh(), nn.LeakyReLU(0.5)])
def test_it_beats_the_jacobians_at_the_images_and_stays_below_the_bound(activation: nn.Module) -> None:
    model = small_network(activation)
    audit = lp.audit_lipschitz(model, images())
    wide = [operator.map_tensors(torch.Tensor.double) for operator in model.operators]

    def features(x: Tensor) -> Tensor:
        v = x[None]
        for operator in wide:
            v = operator.apply(v)
        return v[0]

    norms: list[float] = []
    for x in images().double():
        jacobian: Any = torch.autograd.functional.jacobian(features, x)
        norms.append(float(torch.linalg.matrix_norm(jacobian.flatten(1), 2)))
    assert max(norms) * 0.999 < audit.lower_bound <= audit.upper_bound == lp.lipschitz_upper_bound(model).value


def test_a_kink_beside_the_images_is_found() -> None:
    """|h(a) - h(b)| = 5 |a - b| in a half-space that holds no image: leaky_relu(-x) with slope 5 for positive x."""
    head = nn.Linear(36, 2)
    features = nn.Sequential(nn.Flatten(), nn.LeakyReLU(5.0))
    model = lp.wrap(features.eval(), head.eval(), input_shape=SHAPE)
    audit = lp.audit_lipschitz(model, images(2))
    assert audit.upper_bound == 5.0
    assert 2.5 < audit.lower_bound <= 5.0


def test_a_bound_one_per_cent_too_low_is_refuted(monkeypatch: pytest.MonkeyPatch) -> None:
    model, norm = linear_network()
    honest = lp.lipschitz_upper_bound(model)
    false = dataclasses.replace(honest, value=0.99 * norm)
    monkeypatch.setattr(lipschitz_audit, "lipschitz_upper_bound", lambda model: false)
    x = images()
    data = given_images(model, x, float64_program(model)(x).argmax(1))
    with pytest.raises(lp.SoundnessError, match="unsound Lipschitz bound") as caught:
        evaluate_images(model, data, Request.of(0.01, audit_lipschitz=True))
    report = caught.value.report
    assert isinstance(report, lp.Report)
    assert report.status == "failed" and len(report.problems) == 1
    assert report.lipschitz_audit is not None and report.lipschitz_audit.contradicted


def test_it_depends_on_nothing_but_its_arguments() -> None:
    model, x = small_network(nn.ReLU()), images()
    state = torch.get_rng_state()
    first = lp.audit_lipschitz(model, x, steps=20)
    with torch.inference_mode(), torch.autocast("cpu"):
        torch.manual_seed(9)
        again = lp.audit_lipschitz(model, x, steps=20)
    torch.set_rng_state(state)
    assert again == first
    assert not x.requires_grad
    assert lp.audit_lipschitz(model, x, steps=20, seed=1) != first


def test_constant_features_have_nothing_to_find() -> None:
    dense = nn.Linear(36, 4)
    dense.weight.data.zero_()
    model = lp.wrap(nn.Sequential(nn.Flatten(), dense).eval(), nn.Linear(4, 2).eval(), input_shape=SHAPE)
    audit = lp.audit_lipschitz(model, images(), steps=3)
    assert (audit.lower_bound, audit.upper_bound, audit.contradicted) == (0.0, 0.0, False)


def test_bad_input_is_refused() -> None:
    model = small_network(nn.ReLU())
    with pytest.raises(lp.ConfigError, match="steps"):
        lp.audit_lipschitz(model, images(), steps=0)
    with pytest.raises(lp.DataError, match="no images"):
        lp.audit_lipschitz(model, images(0))
    with pytest.raises(lp.DataError):
        lp.audit_lipschitz(model, torch.rand(2, 1, 5, 5))
