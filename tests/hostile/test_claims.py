"""Models that load are certified for what they are: against closed forms, whatever their cards claim."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import lip_plugin as lp
from lip_plugin.network import CertifiedClassifier, Dense, Flatten, Head, Scale

Array = Any
ForgeOf = Callable[[CertifiedClassifier], Any]


def _images(*shape: int) -> Tensor:
    return torch.rand(8, *shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def _linear(rows: Array, bias: Array) -> CertifiedClassifier:
    weight = torch.tensor(np.asarray(rows, dtype=float))
    return CertifiedClassifier(
        [Flatten()], Head(weight, torch.tensor(np.asarray(bias, float))), input_shape=(1, 2, weight.shape[1] // 2)
    )


def _exact_radii(weight: Array, bias: Array, x: Tensor) -> Array:
    """Distance to the nearest boundary of a linear classifier; 0 at ties, infinity between equal rows."""
    logits = x.flatten(1).numpy() @ weight.T + bias
    best = logits.argmax(1)
    radii = np.full(len(logits), np.inf)
    for index, winner in enumerate(best):
        for other in set(range(len(weight))) - {winner}:
            gap, distance = logits[index, winner] - logits[index, other], np.linalg.norm(weight[winner] - weight[other])
            radii[index] = min(radii[index], 0.0 if gap == 0 else gap / distance if distance else np.inf)
    return radii


def _certify(forge: Any, x: Tensor) -> Tensor:
    model = lp.load_model(forge.sign())
    radius = lp.certify(model, x).radius
    assert bool((lp.certify(model, x, arithmetic="float64").radius <= radius).all())
    return radius


CLAIMS: list[dict[str, Any]] = [
    {"reported": {"lipschitz_upper_bound": 1e-300, "radius": 1e300, "certified": True}},
    {"measured": {"lipschitz_upper_bound": 0, "verified_robust_accuracy": {"1e6": 100}, "clean_accuracy": 100}},
    {"measured": {"bound": "trust me", "margin": [1e300] * 1000, "radii": {"0": 9e99}}},
    {"eps_train": 1e6, "eps_grid": [0, 1e6], "architecture": "1-Lipschitz", "based_on": "proved"},
    {"name": "LipPlugin2026_LiResNet_Demo", "dataset": "fashion_mnist"},
    {"licence": "<script>", "link": "file:///etc/passwd", "bibtex": "%n%n%n{0.__class__}", "venue": "${HOME}"},
]


@pytest.mark.parametrize("claims", CLAIMS)
def test_claims_do_not_reach_the_certificate(claims: dict[str, Any], forge: Any) -> None:
    x = _images(2, 6, 6)
    honest = lp.certify(lp.load_model(forge.directory), x)
    forge.card.update(claims)
    model = lp.load_model(forge.write())
    claimed = lp.certify(model, x)
    assert torch.equal(claimed.radius, honest.radius)
    assert torch.equal(claimed.margin, honest.margin)
    assert claimed.digest == honest.digest
    assert bool((honest.radius > 0).any())


def test_a_forged_weight_is_certified_as_what_it_is(forged: ForgeOf) -> None:
    """Whoever scales the weights and signs anew gets the radii of the scaled network, not of the old one."""
    x = _images(1, 2, 3)
    forge = forged(_linear(np.eye(3, 6), [0.1, 0.2, 0.3]))
    forge.tensors["01_weight"] *= 100
    expected = _exact_radii(forge.tensors["01_weight"], forge.tensors["01_bias"], x)
    radius = _certify(forge, x).numpy()
    assert (radius <= expected).all()
    assert np.allclose(radius, expected, rtol=1e-6)


def test_two_equal_rows_certify_nothing_where_they_win(forged: ForgeOf) -> None:
    x = _images(1, 2, 3)
    forge = forged(_linear([[1.0] * 6, [1.0] * 6, [0.0] * 6], [0.0, 0.0, 0.5]))
    assert _certify(forge, x).tolist() == [0.0] * 8


def test_two_equal_rows_that_lose_do_not_matter(forged: ForgeOf) -> None:
    x = _images(1, 2, 3)
    forge = forged(_linear([[1.0] * 6, [0.0] * 6, [0.0] * 6], [1.0, 0.0, 0.0]))
    expected = _exact_radii(forge.tensors["01_weight"], forge.tensors["01_bias"], x)
    assert np.allclose(_certify(forge, x).numpy(), expected, rtol=1e-6)


def test_rows_one_bit_apart_are_not_taken_for_equal(forged: ForgeOf) -> None:
    """The gap is rounding's; what the smallest head distance promises must not become an infinite radius."""
    x = _images(1, 2, 3)
    rows = np.ones((3, 6))
    rows[1, 0] = np.nextafter(1.0, 2.0)
    rows[2] = 0
    radius = _certify(forged(_linear(rows, [0.0, 0.0, 0.0])), x)
    assert bool((radius <= 1.0 + 1e-9).all())  # the pixel that decides lies in [0,1], the plane at pixel = 0


def test_zero_rows_certify_the_bias(forged: ForgeOf) -> None:
    """All rows zero: a constant network, whose class no input changes. With equal biases: a tie everywhere."""
    x = _images(1, 2, 3)
    assert bool((_certify(forged(_linear(np.zeros((3, 6)), [0.0, 1.0, 0.0])), x) > 1e300).all())


def test_zero_rows_and_equal_biases_certify_nothing(forged: ForgeOf) -> None:
    assert _certify(forged(_linear(np.zeros((3, 6)), [1.0, 1.0, 0.0])), _images(1, 2, 3)).tolist() == [0.0] * 8


def test_one_zero_row_is_a_class_like_any_other(forged: ForgeOf) -> None:
    x = _images(1, 2, 3)
    forge = forged(_linear([[1.0] * 6, [0.0] * 6], [-2.0, 0.5]))
    expected = _exact_radii(forge.tensors["01_weight"], forge.tensors["01_bias"], x)
    radius = _certify(forge, x).numpy()
    assert (radius <= expected).all()
    assert np.allclose(radius, expected, rtol=1e-6)


@pytest.mark.parametrize("scale", [5e-324, 1e-320, 1e-308, 1e-200, 1e150, 1e300])
def test_weights_at_the_ends_of_the_range_certify_no_more_than_the_truth(scale: float, forged: ForgeOf) -> None:
    """Scaling all weights leaves the boundary where it is; denormals may cost radius, never add any."""
    x = _images(1, 2, 3)
    rows = np.array([[3.0, 0, 0, 1, 0, 0], [0, 2.0, 0, 0, 1, 0], [0, 0, 1.0, 0, 0, 2]])
    forge = forged(_linear(rows * scale, np.zeros(3)))
    expected = _exact_radii(rows, np.zeros(3), x)
    try:
        radius = _certify(forge, x).numpy()
    except lp.LipPluginError as error:
        assert scale >= 1e150
        assert "\n" not in str(error)
        return
    assert (radius <= expected * (1 + 1e-12)).all()
    if 1e-300 < scale <= 1e150:
        assert np.allclose(radius, expected, rtol=1e-6)


def test_a_denormal_layer_before_a_huge_one(forged: ForgeOf) -> None:
    """1e-320 then 1e300: what underflows in between is no proof of a small constant."""
    x = _images(1, 2, 2)
    identity = torch.eye(4, dtype=torch.float64)
    head = Head(torch.tensor([[1.0, 0, 0, 0], [0, 1.0, 0, 0]], dtype=torch.float64))
    small, large = Dense(identity * 2.0**-1060), Scale(torch.tensor(2.0**1000, dtype=torch.float64))
    back = Scale(torch.tensor(2.0**60, dtype=torch.float64))
    forge = forged(CertifiedClassifier([Flatten(), small, large, back], head, input_shape=(1, 2, 2)))
    flat = x.flatten(1)
    exact = (flat[:, 0] - flat[:, 1]).abs() / math.sqrt(2)
    model = lp.load_model(forge.sign())
    assert bool((lp.certify(model, x).radius <= exact * (1 + 1e-12)).all())
    with pytest.raises(lp.ConfigError, match="overflow"):
        lp.certify(model, x, arithmetic="float64")


def test_float32_denormals(forged: ForgeOf) -> None:
    x = _images(1, 2, 3)
    rows = torch.tensor([[3.0, 0, 0, 1, 0, 0], [0, 2.0, 0, 0, 1, 0]]) * 1e-42
    model = CertifiedClassifier([Flatten()], Head(rows), input_shape=(1, 2, 3))
    assert bool((rows != 0).any())
    expected = _exact_radii(rows.double().numpy(), np.zeros(2), x)
    radius = _certify(forged(model), x).numpy()
    assert (radius <= expected).all()
    assert np.allclose(radius, expected, rtol=1e-6)
