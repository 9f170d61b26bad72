"""Certificates of float32 programs: bounds against exact rationals, radii against what the programs do."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import lip_plugin as lp
from lip_plugin.certificates.enclosure import EnclosedForward
from lip_plugin.certificates.program import FLOAT32, FLOAT32_FORWARD, PROGRAMS, Program, float32_program
from lip_plugin.data import load_shipped
from lip_plugin.network import Activation, Conv, Dense, Flatten, Head, MinMax, Operator
from lip_plugin.types import ABSTAIN

Randn = Callable[..., Tensor]
Values = list[Fraction]


def _network(scale: float, seed: int) -> lp.CertifiedClassifier:
    """Convolution, MinMax, dense, ReLU; weights and biases that nearly cancel."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return scale * torch.randn(shape, generator=generator)

    operators: list[Operator] = [Conv(draw(4, 2, 2, 2)), MinMax(), Flatten(), Dense(draw(8, 16)), Activation("relu")]
    operators.append(Dense(draw(6, 8), draw(6)))
    return lp.CertifiedClassifier(operators, Head(draw(3, 6), draw(3)), input_shape=(2, 3, 3))


def _exact(model: lp.CertifiedClassifier, x: Tensor) -> Values:
    """The features in rationals; a convolution by its explicit matrix."""
    values = [Fraction(value) for value in x.double().flatten().tolist()]
    for operator, shape in zip(model.operators, model.layer_input_shapes, strict=False):
        if isinstance(operator, Conv | Dense):
            values = _affine(operator, shape, values)
        elif isinstance(operator, MinMax):
            half = len(values) // 2
            pairs = list(zip(values[:half], values[half:], strict=True))
            values = [max(pair) for pair in pairs] + [min(pair) for pair in pairs]
        elif isinstance(operator, Activation):
            values = [max(value, Fraction(0)) for value in values]
    return values


def _affine(operator: Any, shape: tuple[int, ...], values: Values) -> Values:
    unit = torch.eye(len(values), dtype=torch.float64).view(-1, *shape)
    linear = operator.map_tensors(torch.Tensor.double)
    offset = linear.apply(torch.zeros(1, *shape, dtype=torch.float64)).flatten().tolist()
    if isinstance(operator, Dense):
        columns = operator.weight.double().T.tolist()  # the difference below would round
    else:
        columns = (linear.apply(unit)).flatten(1).tolist()
    return [
        sum((Fraction(column[row]) * v for column, v in zip(columns, values, strict=True)), Fraction(offset[row]))
        for row in range(len(offset))
    ]


def _stored_features(model: lp.CertifiedClassifier, x: Tensor) -> Tensor:
    v = x.float()
    for operator in model.operators:
        v = operator.map_tensors(torch.Tensor.double).apply(v.double()).float()
    return v


def _plain_features(model: lp.CertifiedClassifier, x: Tensor) -> Tensor:
    return model.features(x.float())


@pytest.mark.parametrize("scale", [1.0, 30.0])
@pytest.mark.parametrize(
    ("program", "run"), [(FLOAT32, _stored_features), (FLOAT32_FORWARD, _plain_features)], ids=["float32", "plain"]
)
def test_the_ball_bound_covers_what_the_program_does(
    program: Program, run: Callable[[lp.CertifiedClassifier, Tensor], Tensor], scale: float
) -> None:
    """At float64 points in the ball of each image, whose rounding on the way in counts too."""
    model, delta = _network(scale, 5), 0.2
    generator = torch.Generator().manual_seed(1)
    x = 0.3 + torch.rand(4, 2, 3, 3, dtype=torch.float64, generator=generator) / 3
    direction = torch.randn(x.shape, dtype=torch.float64, generator=generator)
    near = x + delta * (1 - 1e-12) * direction / direction.flatten(1).norm(dim=1)[:, None, None, None]
    with torch.no_grad():
        centre = EnclosedForward(model, lp.lipschitz_upper_bound(model), program)(x)
        moved, still = run(model, near), run(model, x)
    for index in range(len(x)):
        for found, point, distance in ((moved, near, delta), (still, x, 0.0)):
            allowed = float(centre.ball_error[index] + distance * centre.ball_slope[index])
            true = _exact(model, point[index])
            pairs = zip(found[index].double().tolist(), true, strict=True)
            square = sum((Fraction(a) - b) ** 2 for a, b in pairs)
            assert 0 < square <= Fraction(allowed) ** 2
            assert allowed < 1e4 * float(square) ** 0.5  # not so wide that nothing could fall outside


def test_a_float32_tie_is_abstained_from() -> None:
    """Two pixels 2^-30 apart: the exact function sees class 1, a float32 tensor holds a tie, which becomes class 0.

    Then ``model(x)`` disagrees and nothing is certified; with the classes exchanged it happens to agree.
    """
    x = torch.tensor([0.5, 0.5 + 2.0**-30], dtype=torch.float64).view(1, 1, 1, 2)
    for weight, label in ((torch.eye(2), 1), (torch.eye(2).flip(0), 0)):
        model = lp.CertifiedClassifier([Flatten()], Head(weight, torch.zeros(2)), input_shape=(1, 1, 2))
        assert int(float32_program(model)(x).argmax(1)) == int(model(x.float()).argmax(1)) == 0
        certificates = {name: lp.certify(model, x, arithmetic=name) for name in PROGRAMS}
        assert all(int(certificate.prediction) == label for certificate in certificates.values())
        assert all(bool(certificate.disagrees) == (label == 1) for certificate in certificates.values())
        expected = 2.0**-30 / 2**0.5 if label == 0 else 0.0
        assert float(certificates["real"].radius) == pytest.approx(expected, rel=1e-6)
        assert float(certificates["float64"].radius) == pytest.approx(expected, rel=1e-3)
        assert float(certificates["float32"].radius) == float(certificates["forward"].radius) == 0.0
        assert int(lp.predict(model, x, eps=0.0).label) == ABSTAIN
        assert int(lp.predict(model, x, eps=0.0, arithmetic="float64").label) == (0 if label == 0 else ABSTAIN)


def test_programs_keep_their_label_up_to_their_own_radius(randn: Randn) -> None:
    """Linear classifiers, where the radius ends at the boundary: a real radius is too long for a float32 program."""
    failures: dict[str, int] = dict.fromkeys(("real", "float32", "forward"), 0)
    for seed in range(40):
        weight, bias = randn(2, 16, seed=seed, dtype=torch.float32), randn(2, seed=seed + 99, dtype=torch.float32)
        model = lp.CertifiedClassifier([Flatten()], Head(weight, bias), input_shape=(1, 4, 4))
        x = 0.5 + 0.05 * randn(20, 1, 4, 4, seed=seed)
        stored = float32_program(model)
        programs: dict[str, Callable[[Tensor], Tensor]] = {"real": stored, "float32": stored}
        programs["forward"] = lambda near, model=model: model(near.float())
        for name, program in programs.items():
            certificate = lp.certify(model, x, arithmetic=name)
            label = certificate.prediction
            normal = (weight[1 - label] - weight[label]).double()
            step = certificate.radius[:, None] * (1 - 1e-12) * normal / normal.norm(dim=1, keepdim=True)
            near = x + step.view_as(x)
            with torch.no_grad():
                moved = program(near).argmax(1) != label
            failures[name] += int((moved & (certificate.radius > 0)).sum())
    assert failures["float32"] == failures["forward"] == 0
    assert failures["real"] > 20  # else nothing above was close enough to fail


def test_float32_storage_costs_the_demo_model_nothing_that_can_be_measured() -> None:
    model = lp.load_model("LipPlugin2026_LiResNet_Demo")
    x, y = load_shipped("fashion_mnist").first(64).tensors(torch.float32)
    radii = {name: lp.certify(model, x, arithmetic=name) for name in ("real", "float64", "float32", "forward")}
    ordered = [radii[name].radius for name in ("real", "float64", "float32", "forward")]
    assert all(bool((a >= b).all()) for a, b in itertools.pairwise(ordered))
    assert float((radii["real"].radius - radii["float32"].radius).max()) < 1e-3
    assert bool((radii["real"].radius > radii["float32"].radius)[radii["real"].radius > 0].all())
    for eps in (0.1, 0.25, 0.5):
        shares = [lp.verified_robust_accuracy(radii[name], y, eps) for name in ("real", "float32")]
        assert shares[0] == shares[1]


def test_what_a_float32_program_cannot_hold_is_refused() -> None:
    model, x = _network(1.0, 0), torch.full((1, 2, 3, 3), 0.5)
    wide = lp.CertifiedClassifier(
        [op.map_tensors(torch.Tensor.double) for op in model.operators],
        Head(model.head_weight.double(), model.head_bias.double()),
        input_shape=(2, 3, 3),
    )
    with pytest.raises(lp.ConfigError, match=r"needs float32 weights, this network's are torch.float64"):
        lp.certify(wide, x.double(), arithmetic="float32")
    of_float64, of_forward = (lp.certify(wide, x.double(), arithmetic=name) for name in ("float64", "forward"))
    assert torch.equal(of_float64.radius, of_forward.radius)  # what a float64 network runs is the float64 program
    for name, exponent in (("float32", 55), ("forward", 126)):
        huge = Head(torch.full((2, 18), 2.0**exponent), torch.zeros(2))
        large = lp.CertifiedClassifier([Flatten()], huge, input_shape=(2, 3, 3))
        with pytest.raises(lp.ConfigError, match=rf"weights of 2\^{exponent} or more may overflow in {name}"):
            lp.certify(large, x, arithmetic=name)


def test_a_radius_ends_before_float32_overflows() -> None:
    """Pixels times 2^54 twice: 2^108 is a float32, but beyond the range in which the proof of storage holds.

    The forward is followed up to 2^126: twice 2^62 is within it, twice 2^63 is not, twice 2^64 is no float32 at all.
    """

    def radius(exponent: int, arithmetic: str) -> float:
        big = torch.eye(2) * 2.0**exponent
        model = lp.CertifiedClassifier(
            [Flatten(), Dense(big), Dense(big)], Head(torch.eye(2), torch.zeros(2)), input_shape=(1, 1, 2)
        )
        x = torch.tensor([1.0, 0.0]).view(1, 1, 1, 2)
        return float(lp.certify(model, x, arithmetic=arithmetic).radius)

    assert radius(54, "real") > 0.7 and radius(54, "float32") == 0.0
    assert radius(54, "forward") > 0.7 and radius(61, "forward") > 0.7
    assert radius(63, "real") > 0.7 and radius(63, "forward") == 0.0
    assert radius(64, "real") == radius(64, "forward") == 0.0  # infinite - not a number - disagrees


def test_moderately_wide_networks_keep_most_of_their_radii() -> None:
    torch.manual_seed(0)
    features = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(16 * 64, 32))
    model = lp.wrap(features.eval(), nn.Linear(32, 5).eval(), input_shape=(3, 8, 8))
    x = torch.rand(16, 3, 8, 8)
    real, stored = (lp.certify(model, x, arithmetic=name).radius for name in ("real", "float32"))
    assert bool((stored >= 0.99 * real - 1e-5).all())


@pytest.mark.parametrize(("off", "refused"), [(0.0, False), (2.0**-8, True)])
def test_a_forward_far_less_exact_than_float32_is_refused(
    off: float, refused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Logits off by bfloat16's unit. Only the certificate of the forward is about them."""
    model = lp.load_model("LipPlugin2026_LiResNet_Demo")
    x, _ = load_shipped("fashion_mnist").first(8).tensors(torch.float32)
    logits = model(x).double() * (1 + off * torch.tensor([(-1.0) ** k for k in range(10)]))
    monkeypatch.setattr("lip_plugin.certificates.certificate._forward", lambda model, x: logits)
    for name in ("real", "float64", "float32"):
        assert not bool(lp.certify(model, x, arithmetic=name).disagrees.any())
    if refused:
        with pytest.raises(lp.ConfigError, match=r"model\(x\) is less exact here than sums in float32 can be"):
            lp.certify(model, x, arithmetic="forward")
    else:
        assert bool((lp.certify(model, x, arithmetic="forward").radius > 0).any())
