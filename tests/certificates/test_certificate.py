"""Radii against closed forms and exact rational arithmetic; what a certificate refuses; that queries are pure."""

from __future__ import annotations

from fractions import Fraction

import pytest
import torch
from torch import Tensor, nn

import lip_plugin as lp


def linear_classifier(classes: int, *, seed: int, dtype: torch.dtype = torch.float32) -> lp.CertifiedClassifier:
    """logits = W flatten(x) + b: its boundary distance has a closed form."""
    generator = torch.Generator().manual_seed(seed)
    head = nn.Linear(12, classes)
    for parameter in head.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator, dtype=dtype)
    return lp.wrap(nn.Flatten().eval(), head.to(dtype).eval(), input_shape=(3, 2, 2))


def images(count: int, *, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.rand(count, 3, 2, 2, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def exact(values: Tensor) -> list[Fraction]:
    return [Fraction(value) for value in values.double().flatten().tolist()]


def exact_logits(model: lp.CertifiedClassifier, x: Tensor) -> list[Fraction]:
    pixels = exact(x)
    rows = [exact(row) for row in model.head_weight]
    return [
        sum((w * p for w, p in zip(row, pixels, strict=True)), bias)
        for row, bias in zip(rows, exact(model.head_bias), strict=True)
    ]


@pytest.mark.parametrize("arithmetic", ["real", "float64"])
@pytest.mark.parametrize("seed", range(4))
def test_radius_of_a_linear_classifier_is_exact_from_below(seed: int, arithmetic: str) -> None:
    """radius^2 <= margin^2 / ||w_j - w_i||^2 in exact rationals, and within 1e-9 of it."""
    model, x = linear_classifier(4, seed=seed), images(8, seed=seed)
    certificate = lp.certify(model, x, arithmetic=arithmetic)
    rows = [exact(row) for row in model.head_weight]
    for index, radius in enumerate(certificate.radius.tolist()):
        logits = exact_logits(model, x[index])
        top = max(range(4), key=logits.__getitem__)
        assert int(certificate.prediction[index]) == top
        true_square = min(
            (logits[top] - logits[i]) ** 2 / sum((a - b) ** 2 for a, b in zip(rows[top], rows[i], strict=True))
            for i in range(4)
            if i != top
        )
        assert Fraction(radius) ** 2 <= true_square
        assert radius >= float(true_square) ** 0.5 * (1 - 1e-9)


def test_margin_is_a_lower_bound_of_the_exact_margin() -> None:
    """In float64, where dot products do round; products of float32 numbers are exact."""
    double = torch.float64
    model, x = linear_classifier(5, seed=9, dtype=double), images(64, seed=3, dtype=double)
    for index, margin in enumerate(lp.certify(model, x).margin.tolist()):
        ordered = sorted(exact_logits(model, x[index]), reverse=True)
        assert Fraction(margin) <= ordered[0] - ordered[1]
        assert margin >= float(ordered[0] - ordered[1]) - 1e-12


def orthogonal_classifier(seed: int) -> tuple[lp.CertifiedClassifier, Tensor, Tensor]:
    """Two orthogonal dense layers before a linear head, and the product map W Q2 Q1 with its bias."""
    generator = torch.Generator().manual_seed(seed)
    q1, q2 = (torch.linalg.qr(torch.randn(12, 12, generator=generator, dtype=torch.float64)).Q for _ in range(2))
    head = nn.Linear(12, 3).double()
    head.weight.data = torch.randn(3, 12, generator=generator, dtype=torch.float64)
    layers = [nn.Linear(12, 12, bias=False).double() for _ in range(2)]
    layers[0].weight.data, layers[1].weight.data = q1, q2
    model = lp.wrap(nn.Sequential(nn.Flatten(), *layers).eval(), head.eval(), input_shape=(3, 2, 2))
    return model, head.weight.detach() @ q2 @ q1, head.bias.detach()


@pytest.mark.parametrize("seed", range(3))
def test_radius_behind_orthogonal_layers_is_the_boundary_distance(seed: int) -> None:
    model, weight, bias = orthogonal_classifier(seed)
    x = images(20, seed=seed, dtype=torch.float64)
    certificate = lp.certify(model, x)
    logits = x.flatten(1) @ weight.T + bias
    top = logits.argmax(1)
    gap = logits.gather(1, top[:, None]) - logits
    distance = gap / (weight[top][:, None] - weight).norm(dim=2).clamp_min(1e-300)
    distance = distance.scatter(1, top[:, None], torch.inf).amin(1)
    assert torch.equal(certificate.prediction, top)
    assert bool((certificate.radius <= distance).all())
    torch.testing.assert_close(certificate.radius, distance, rtol=1e-7, atol=0)


def test_ties_and_identical_rows() -> None:
    """An equal logit of another class certifies nothing; a row that can never catch up does not limit."""
    head = nn.Linear(12, 3)
    head.weight.data = torch.stack([torch.ones(12), torch.ones(12), -torch.ones(12)])
    head.bias.data = torch.tensor([0.0, 0.0, 0.0])
    x = images(4)
    tied = lp.certify(lp.wrap(nn.Flatten().eval(), head.eval(), input_shape=(3, 2, 2)), x)
    assert tied.radius.tolist() == [0.0] * 4
    head.bias.data = torch.tensor([1.0, 0.0, 0.0])
    ahead = lp.certify(lp.wrap(nn.Flatten().eval(), head.eval(), input_shape=(3, 2, 2)), x)
    expected = (2 * x.double().flatten(1).sum(1) + 1) / (2 * 12**0.5)  # against class 2; class 1 is always 1 behind
    torch.testing.assert_close(ahead.radius, expected, rtol=1e-9, atol=0)


def small_network(dtype: torch.dtype = torch.float32) -> lp.CertifiedClassifier:
    torch.manual_seed(5)
    features = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(8, 6))
    return lp.wrap(features.to(dtype).eval(), nn.Linear(6, 4).to(dtype).eval(), input_shape=(3, 2, 2))


def test_float64_arithmetic_costs_less_than_a_billionth() -> None:
    model, x = small_network(), images(32)
    real, rounded = lp.certify(model, x), lp.certify(model, x, arithmetic="float64")
    assert bool((rounded.radius <= real.radius).all())
    torch.testing.assert_close(rounded.radius, real.radius, rtol=1e-9, atol=1e-10)


def test_no_input_inside_the_radius_changes_the_prediction() -> None:
    """Sampled and gradient-searched points strictly inside the ball, against the float64 program."""
    model, x = small_network(torch.float64), images(40, dtype=torch.float64)
    certificate = lp.certify(model, x)
    torch.manual_seed(0)
    points = x.clone().requires_grad_(True)
    for _ in range(30):
        logits = model(points)
        top = logits.gather(1, certificate.prediction[:, None])
        others = logits.scatter(1, certificate.prediction[:, None], -torch.inf)
        (gradient,) = torch.autograd.grad((others.amax(1) - top[:, 0]).sum(), points)
        direction = gradient + 0.05 * torch.randn_like(gradient) * gradient.norm()
        step = direction / direction.flatten(1).norm(dim=1)[:, None, None, None]
        points = (x + 0.999999 * certificate.radius[:, None, None, None] * step).detach().requires_grad_(True)
        assert torch.equal(model(points).argmax(1), certificate.prediction)


def test_the_certificate_does_not_depend_on_batching_autocast_or_earlier_queries() -> None:
    model, x = small_network(), images(30)
    first = lp.certify(model, x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        second = lp.certify(model, x, batch_size=30)
    assert torch.equal(first.radius, second.radius)
    torch.testing.assert_close(first.radius, lp.certify(model, x, batch_size=7).radius, rtol=1e-12, atol=0)


def test_changed_weights_change_digest_and_radius() -> None:
    """A write behind autograd's back (``.data``) is certified as what it is, not as what it was."""
    model, x = small_network(), images(6)
    before = lp.certify(model, x)
    model.head_weight.data.mul_(3.0)
    after = lp.certify(model, x)
    assert after.digest == model.digest != before.digest
    assert not torch.equal(before.margin, after.margin)


def test_an_empty_batch_gives_an_empty_certificate() -> None:
    certificate = lp.certify(small_network(), torch.empty(0, 3, 2, 2))
    assert len(certificate) == 0
    assert certificate.radius.dtype == torch.float64


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (torch.zeros(2, 3, 2, 3), "shape"),
        (torch.zeros(3, 2, 2), "shape"),
        (torch.full((1, 3, 2, 2), torch.nan), "nan"),
        (torch.full((1, 3, 2, 2), 1.001), "1.001"),
        (torch.full((1, 3, 2, 2), -1e-3), "-0.001"),
        (torch.zeros(1, 3, 2, 2, dtype=torch.uint8), "uint8"),
    ],
)
def test_bad_images_are_refused(x: Tensor, message: str) -> None:
    with pytest.raises(lp.DataError, match=message):
        lp.certify(small_network(), x)


def test_bad_settings_are_refused() -> None:
    model, x = small_network(), images(1)
    with pytest.raises(lp.ConfigError, match=r"'float16' is unknown; Did you mean 'float"):
        lp.certify(model, x, arithmetic="float16")
    with pytest.raises(lp.ConfigError, match="batch_size"):
        lp.certify(model, x, batch_size=0)
    with pytest.raises(lp.ConfigError, match=r"lp\.wrap"):
        lp.certify(nn.Flatten(), x)  # pyright: ignore[reportArgumentType]


def test_predict_abstains_where_the_radius_does_not_exceed_eps() -> None:
    model, x = small_network(), images(25)
    radius = lp.certify(model, x, arithmetic="float64").radius
    eps = float(radius.median())
    prediction = lp.predict(model, x, eps=eps)
    labels = lp.certify(model, x).prediction
    assert prediction.label.tolist() == [
        label if r > eps else lp.ABSTAIN for label, r in zip(labels.tolist(), radius.tolist(), strict=True)
    ]
    assert lp.ABSTAIN in prediction.label.tolist()
