"""Weights built against the certifier: radii against exact rationals, singular values, the programs and attacks."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import lip_plugin as lp
from lip_plugin.certificates import float32_program
from lip_plugin.network import Flatten, Head, Operator, float64_program
from lip_plugin.types import Shape

from .adversarial_networks import ADVERSARIAL, Adversarial, narrowed
from .exact import ZERO, Form, evaluate, fractions, square_distance


@dataclass(frozen=True)
class Adversary:
    """A network that is linear from image to logits, two images, and ``gap``: logit 0 less logit 1, exactly."""

    name: str
    canary: Any
    gap: Form
    wanted: Adversarial

    @property
    def model(self) -> lp.CertifiedClassifier:
        model: lp.CertifiedClassifier = self.canary.model
        return model

    @property
    def x(self) -> Tensor:
        x: Tensor = self.canary.x
        return x

    @property
    def arithmetics(self) -> tuple[str, ...]:
        return ("real", "float64", "float32") if self.model.dtype == torch.float32 else ("real", "float64")

    def gaps(self) -> list[Fraction]:
        return [self.gap.at(fractions(image)) for image in self.x]

    def square_slope(self) -> Fraction:
        return sum((slope**2 for slope in self.gap.slope), ZERO)


def pixels(count: int) -> list[Form]:
    return [Form(tuple(Fraction(index == axis) for index in range(count)), ZERO) for axis in range(count)]


def of_a_linear_network(form: Form) -> bool:
    raise AssertionError(f"a linear network asks nothing, but {form}")


def exact_rows(model: lp.CertifiedClassifier) -> list[Form]:
    return evaluate(model, pixels(math.prod(model.input_shape)), of_a_linear_network)


@pytest.fixture(scope="module", params=[torch.float64, torch.float32], ids=["float64", "float32"])
def dtype(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture(scope="module", params=ADVERSARIAL)
def adversary(request: pytest.FixtureRequest, canaries: Any, dtype: Any) -> Adversary:
    wanted = ADVERSARIAL[request.param]
    canary = narrowed(wanted.build(canaries), dtype)
    first, second = exact_rows(canary.model)
    return Adversary(request.param, canary, first - second, wanted)


def product_of_singular_values(model: lp.CertifiedClassifier) -> float:
    """Of every layer's exact matrix by NumPy, times the distance of the head's rows."""
    norms = [largest_singular_value(*pair) for pair in zip(model.operators, model.layer_input_shapes, strict=False)]
    weight = model.head_weight.double().numpy()
    return math.prod(norms) * float(np.linalg.norm(weight[0] - weight[1]))


def largest_singular_value(layer: Operator, shape: Shape) -> float:
    wide, out = layer.map_tensors(torch.Tensor.double), layer.output_shape(shape)
    alone = [wide] if len(out) == 1 else [wide, Flatten()]
    if len(shape) == 1:
        alone, shape = [Flatten(), *alone], (1, 1, *shape)
    head = Head(torch.eye(math.prod(out), dtype=torch.float64))
    model = lp.CertifiedClassifier(alone, head, input_shape=(shape[0], shape[1], shape[2]))
    matrix = np.array([[float(value) for value in row.slope] for row in exact_rows(model)])
    return float(np.linalg.svd(matrix, compute_uv=False)[0])


def test_radii_end_before_the_exact_boundary_and_where_singular_values_say(adversary: Adversary) -> None:
    """r^2 ||slope||^2 <= gap^2 in rationals, which leaves no point of the ball; r >= share * gap / (s_1 s_2 ...)."""
    product, square = product_of_singular_values(adversary.model), adversary.square_slope()
    for arithmetic in adversary.arithmetics:
        certificate = lp.certify(adversary.model, adversary.x, arithmetic=arithmetic)
        share = adversary.wanted.share_float32 if arithmetic == "float32" else adversary.wanted.share
        columns = (certificate.prediction.tolist(), certificate.radius.tolist(), certificate.margin.tolist())
        for gap, label, radius, margin, disagrees in zip(
            adversary.gaps(), *columns, certificate.disagrees.tolist(), strict=True
        ):
            if radius > 0:
                assert label == (0 if gap > 0 else 1)
                assert Fraction(radius) ** 2 * square <= gap**2
            if disagrees:  # the forward says something else: no radius, but the proof of the margin stands
                assert radius == 0.0 and share * float(abs(gap)) <= margin <= float(abs(gap)) * (1 + 1e-12)
            else:
                assert radius >= share * float(abs(gap)) / product
            assert radius <= float(abs(gap)) / product * (1 + 1e-12)


def towards_the_boundary(adversary: Adversary, image: Tensor, gap: Fraction) -> Tensor:
    """(C, H, W) float64 of length 1, or 0 where the logits are constant."""
    slope = torch.tensor([float(value) for value in adversary.gap.slope], dtype=torch.float64).view_as(image)
    slope = slope / slope.abs().max().clamp_min(1e-300)  # squares of small slopes would underflow
    return -math.copysign(1.0, gap) * slope / slope.norm().clamp_min(1e-300)


def worst_points(image: Tensor, direction: Tensor, radius: float) -> Tensor:
    """Float64 points (B, C, H, W) strictly inside the radius: at its end, and within a few units in the last place."""
    generator = torch.Generator().manual_seed(0)
    points = [image.double() + share * radius * direction for share in (1 - 2**-50, 1 - 1e-9, 1 - 1e-6, 0.9, 0.5, 0.0)]
    for back in torch.logspace(-12, -1, 24, dtype=torch.float64).tolist():
        units = torch.randint(-2, 3, image.shape, generator=generator)
        points.append(image.double() + (1 - back) * radius * direction + units * 2.0**-53)
    centre, limit = fractions(image), Fraction(radius) ** 2
    return torch.stack([point for point in points if square_distance(fractions(point), centre) < limit])


def test_no_program_changes_its_answer_inside_its_radius(adversary: Adversary) -> None:
    """Along the worst direction, up to the last units; where the radius is nearly all, it does just behind."""
    programs = {"float64": float64_program, "float32": float32_program}
    for arithmetic in adversary.arithmetics[1:]:
        program = programs[arithmetic](adversary.model)
        certificate = lp.certify(adversary.model, adversary.x, arithmetic=arithmetic)
        for image, gap, label, radius in zip(
            adversary.x, adversary.gaps(), certificate.prediction.tolist(), certificate.radius.tolist(), strict=True
        ):
            if radius == 0:
                continue
            direction = towards_the_boundary(adversary, image, gap)
            inside = worst_points(image, direction, radius)
            assert len(inside) >= 6
            assert bool((program(inside).argmax(dim=1) == label).all())
            distance = float(abs(gap)) / float(adversary.square_slope()) ** 0.5
            if radius > 0.9999 * distance:
                behind = image.double() + 1.0001 * distance * direction
                assert int(program(behind[None]).argmax()) != label


def test_attacks_break_no_certified_point(adversary: Adversary) -> None:
    """Through the port, below and above the radii, certified images included."""
    certificate = lp.certify(adversary.model, adversary.x, arithmetic="float64")
    smallest = float(certificate.radius.min())
    eps = (0.99 * smallest, 1.01 * smallest) if smallest > 0 else (1e-6, 1e-2)
    report = lp.compare(
        adversary.model,
        adversary.x,
        certificate.prediction,
        eps=eps,
        attacks=("autoattack:apgd-ce?n_iter=20", "autoattack:fab-t?n_iter=10"),
        skip_certified=False,
        arithmetic="float64",
    )
    assert report.status == "ok" and report.audit.broken == 0
    assert report.audit.attacked_certified > 0 or smallest == 0


def naive_radii(model: lp.CertifiedClassifier, x: Tensor) -> Tensor:
    """Margin of a plain forward over the proved constant, as most code has it."""
    logits, pair = model(x).double(), lp.pair_lipschitz_upper_bound(model)
    return (logits[:, 0] - logits[:, 1]).abs() / pair[0, 1]


def test_the_same_radii_without_a_slack_for_rounding_are_wrong_here(canaries: Any) -> None:
    """What the first test would say of a plain float32 forward: too long, or of the wrong class."""
    wrong: set[str] = set()
    for name, wanted in ADVERSARIAL.items():
        if name.startswith("checkerboard"):
            continue
        canary = narrowed(wanted.build(canaries), torch.float32)
        first, second = exact_rows(canary.model)
        gap = first - second
        square = sum((slope**2 for slope in gap.slope), ZERO)
        predicted = canary.model(canary.x).argmax(dim=1).tolist()
        for image, label, radius in zip(canary.x, predicted, naive_radii(canary.model, canary.x).tolist(), strict=True):
            true = gap.at(fractions(image)) * (1 - 2 * label)
            if radius > 0 and (true <= 0 or Fraction(radius) ** 2 * square > true**2):
                wrong.add(name)
    assert len(wrong) >= 6, wrong
