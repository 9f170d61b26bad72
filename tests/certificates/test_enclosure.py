"""The carried error bound against exact rational evaluation of small networks."""

from __future__ import annotations

from fractions import Fraction

import pytest
import torch
from torch import Tensor, nn

import lip_plugin as lp
from lip_plugin.certificates.enclosure import EnclosedForward
from lip_plugin.network import Activation, Dense, Flatten, Head, MinMax, float64_logits


def exact_rows(matrix: Tensor) -> list[list[Fraction]]:
    return [[Fraction(value) for value in row] for row in matrix.double().tolist()]


def exact_features(model: lp.CertifiedClassifier, x: Tensor) -> list[Fraction]:
    """The same operators in rationals."""
    values = [Fraction(value) for value in x.double().flatten().tolist()]
    for operator in model.operators:
        if isinstance(operator, Dense):
            assert operator.bias is not None
            bias = exact_rows(operator.bias[None])[0]
            rows = exact_rows(operator.weight)
            values = [
                sum((w * v for w, v in zip(row, values, strict=True)), b) for row, b in zip(rows, bias, strict=True)
            ]
        elif isinstance(operator, Activation):
            values = [max(value, Fraction(0)) for value in values]
        elif isinstance(operator, MinMax):
            half = len(values) // 2
            pairs = list(zip(values[:half], values[half:], strict=True))
            values = [max(pair) for pair in pairs] + [min(pair) for pair in pairs]
        else:
            assert isinstance(operator, Flatten)
    return values


def cancelling_network(scale: float, seed: int) -> lp.CertifiedClassifier:
    """Large weights and biases whose contributions nearly cancel: the worst case for rounding."""
    torch.manual_seed(seed)
    layers = [nn.Linear(8, 8) for _ in range(3)]
    for layer in layers:
        layer.weight.data *= scale
        layer.bias.data = -layer.weight.data.sum(1) / 2 + layer.bias.data
    features = nn.Sequential(nn.Flatten(), layers[0], nn.ReLU(), layers[1], nn.ReLU(), layers[2])
    return lp.wrap(features.double().eval(), nn.Linear(8, 3).double().eval(), input_shape=(2, 2, 2))


@pytest.mark.parametrize("scale", [1.0, 1e3])
@pytest.mark.parametrize("seed", range(3))
def test_error_bound_covers_the_exact_features(scale: float, seed: int) -> None:
    model = cancelling_network(scale, seed)
    x = torch.rand(6, 2, 2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        enclosure = EnclosedForward(model, lp.lipschitz_upper_bound(model))(x)
    for index in range(len(x)):
        computed = [Fraction(value) for value in enclosure.features[index].tolist()]
        true = exact_features(model, x[index])
        square = sum((a - b) ** 2 for a, b in zip(computed, true, strict=True))
        assert square <= Fraction(float(enclosure.error[index])) ** 2
        assert square > 0  # rounding did happen, so the comparison means something
        assert sum(a**2 for a in computed) <= Fraction(float(enclosure.norm[index])) ** 2


def test_ball_error_covers_points_in_the_ball() -> None:
    model = cancelling_network(10.0, 7)
    generator = torch.Generator().manual_seed(1)
    x = 0.25 + torch.rand(4, 2, 2, 2, dtype=torch.float64, generator=generator) / 2
    forward = EnclosedForward(model, lp.lipschitz_upper_bound(model))
    delta = 0.2
    with torch.no_grad():
        centre = forward(x)
        step = torch.randn(x.shape, dtype=torch.float64, generator=generator)
        near = x + delta * step / step.flatten(1).norm(dim=1)[:, None, None, None] * (1 - 1e-12)
        moved = forward(near)
    allowed = centre.ball_error + delta * centre.ball_slope
    for index in range(len(x)):
        computed = [Fraction(value) for value in moved.features[index].tolist()]
        square = sum((a - b) ** 2 for a, b in zip(computed, exact_features(model, near[index]), strict=True))
        assert square <= Fraction(float(allowed[index])) ** 2
    assert bool((allowed < 1e-6).all())


def test_float64_radii_pay_for_rounding_at_the_image_and_at_the_far_point() -> None:
    """Two classes, so one pair decides: radius <= (gap - 2 slack) / Lip, the slack read off the margin."""
    wide = cancelling_network(1e3, 2)
    head = Head(wide.head_weight[:2].clone(), wide.head_bias[:2].clone())
    model = lp.CertifiedClassifier(wide.operators, head, input_shape=(2, 2, 2))
    x = torch.rand(12, 2, 2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    logits = float64_logits(model, x)
    gap = (logits[:, 0] - logits[:, 1]).abs()
    certificate = lp.certify(model, x, arithmetic="float64")
    slack = gap - certificate.margin
    assert bool((slack > 1e-9).all())  # large enough to be seen beside the rounding of this test
    most = (gap - 2 * slack) / lp.pair_lipschitz_upper_bound(model)[0, 1]
    assert bool((certificate.radius <= most.clamp_min(0) * (1 + 1e-12)).all())
    assert bool((certificate.radius > 0).any())
