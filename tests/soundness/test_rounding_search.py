"""Floating-point attacks on certificates: radii that ignore rounding fall, those of `lp.certify` do not.

Of 8 images per network the search breaks the naive radii of 2 to 8, whatever the arithmetic. What a certificate
subtracts is needed: with 40 % of it given back, radii of networks whose sums vanish fall to the rounding of the image
alone, and with 80 % those of linear classifiers; one image with logits near 2^20 falls with 20 %.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import pytest
import torch
from torch import Tensor

import lip_plugin as lp
from lip_plugin.certificates import float32_program
from lip_plugin.network import float64_program

from .exact import exact_gap, fractions
from .rounding_networks import (
    NETWORKS,
    grey_images,
    linear,
    logits_near_two_to_the_twenty,
    padded_convolution,
    relu_with_large_biases,
    rotations_and_minmax,
    sums_that_vanish,
)
from .rounding_programs import ORDERS, as_it_is, executed, naive_radii, programs, slopes
from .rounding_search import Program, RoundingSearch, nearest_that_rounds_to, strictly_inside

Make = Callable[[int, torch.dtype], lp.CertifiedClassifier]
COUNT = 8


def dtype_of(arithmetic: str) -> torch.dtype:
    return torch.float64 if arithmetic == "float64" else torch.float32


def found(search: RoundingSearch, x: Tensor, label: Tensor, radius: Tensor) -> dict[int, Tensor]:
    """Index -> misclassified point strictly inside the radius, for the images whose radius is positive."""
    points = {
        index: search(image, int(label[index]), float(radius[index]))
        for index, image in enumerate(x)
        if radius[index] > 0
    }
    return {index: point for index, point in points.items() if point is not None}


# --- the search finds what it should ------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
@pytest.mark.parametrize(("make", "least"), [(linear, 8), (relu_with_large_biases, 4)])
def test_naive_radii_fall_to_neighbours_in_the_programs_own_format(make: Make, least: int, dtype: torch.dtype) -> None:
    """The published attack: program, radius and points all in one format. Every find is held against fractions."""
    successes = 0
    for seed in range(2):
        model, x = make(seed, dtype), grey_images(COUNT, seed)
        program = executed(model, dtype, as_it_is)
        label, radius = naive_radii(model, program, x, dtype)
        points = found(RoundingSearch(program, slopes(model), dtype, pull=False), x, label, radius)
        for index, point in points.items():
            assert torch.equal(point.to(dtype).double(), point)
            square = sum((a - b) ** 2 for a, b in zip(fractions(point), fractions(x[index]), strict=True))
            assert square < Fraction(float(radius[index])) ** 2
            assert int(program(point[None]).argmax()) != int(label[index])
        successes += len(points)
    assert successes >= least


@pytest.mark.parametrize("arithmetic", ["float64", "float32", "forward"])
@pytest.mark.parametrize("name", NETWORKS)
def test_certified_radii_stand_where_naive_ones_fall(name: str, arithmetic: str) -> None:
    """The same search, network and images; the certificate against every order of summation it speaks about."""
    dtype = dtype_of(arithmetic)
    model, x = NETWORKS[name](0, dtype), grey_images(COUNT, 0)
    certificate = lp.certify(model, x, arithmetic=arithmetic)
    assert int((certificate.radius > 0).sum()) >= 2
    searches = {
        order: RoundingSearch(program, slopes(model), dtype) for order, program in programs(model, arithmetic).items()
    }
    for order, search in searches.items():
        assert not found(search, x, certificate.prediction, certificate.radius), order
    label, radius = naive_radii(model, searches["stated"].program, x, dtype)
    assert len(found(searches["stated"], x, label, radius)) >= 1


@pytest.mark.parametrize(
    ("make", "share", "least"), [(linear, 0.9, 4), (logits_near_two_to_the_twenty, 0.7, 1), (sums_that_vanish, 0.7, 4)]
)
def test_most_of_what_a_float32_certificate_subtracts_is_needed(make: Make, share: float, least: int) -> None:
    """With this share of it given back, radii fall."""
    model, x = make(0, torch.float32), grey_images(COUNT, 0)
    certificate, real = (lp.certify(model, x, arithmetic=name) for name in ("float32", "real"))
    radius = certificate.radius + share * (real.radius - certificate.radius)
    search = RoundingSearch(float32_program(model), slopes(model), torch.float32)
    assert len(found(search, x, certificate.prediction, radius.where(certificate.radius > 0, 0))) >= least


@pytest.mark.parametrize(
    "make",
    [linear, logits_near_two_to_the_twenty, relu_with_large_biases, rotations_and_minmax, padded_convolution],
)
def test_real_radii_are_right_even_where_a_program_is_not(make: Make) -> None:
    """Points inside "real" radii that float32 misclassifies: exact arithmetic gives each the certified label.

    And the comparison can fail: of radii a millionth longer, points are found that exact arithmetic gives another.
    """
    model, x = make(0, torch.float32), grey_images(5, 0)
    certificate = lp.certify(model, x)
    deceived = refuted = 0
    for program in (float32_program(model), executed(model, torch.float32, ORDERS["term by term"])):
        search = RoundingSearch(program, slopes(model), torch.float32)
        for index, point in found(search, x, certificate.prediction, certificate.radius).items():
            assert exact_gap(model, fractions(point), int(certificate.prediction[index])) > 0
            deceived += 1
    search = RoundingSearch(float64_program(model), slopes(model), torch.float64)
    for index, point in found(search, x, certificate.prediction, certificate.radius * (1 + 1e-6)).items():
        refuted += exact_gap(model, fractions(point), int(certificate.prediction[index])) <= 0
    assert deceived >= 4
    assert refuted >= 3


# --- where the margin does not exceed the slack ---------------------------------------------------------------------


@pytest.mark.parametrize("arithmetic", ["float32", "forward"])
def test_predict_abstains_from_ties_and_else_agrees_with_every_program(arithmetic: str) -> None:
    """Logits near 2^20 are multiples of 1/16 or 1/8: many tie. "real" labels some images otherwise than a program."""
    model, x = logits_near_two_to_the_twenty(1, torch.float32), grey_images(240, 9)
    given, of_real = lp.predict(model, x, eps=0.0, arithmetic=arithmetic).label, lp.certify(model, x)
    exact = [exact_gap(model, fractions(image), 0) for image in x]
    labelled = given != lp.ABSTAIN
    assert int(labelled.sum()) >= 15
    assert all((gap > 0) == (label == 0) for gap, label in zip(exact, given.tolist(), strict=True) if label >= 0)
    ties = wrong = 0
    for program in programs(model, arithmetic).values():
        logits = program(x.double())
        tied = logits[:, 0] == logits[:, 1]
        assert bool((given[tied] == lp.ABSTAIN).all())
        assert torch.equal(given[labelled], logits.argmax(1)[labelled])
        ties += int(tied.sum())
        wrong += int((of_real.prediction != logits.argmax(1))[of_real.margin > 0].sum())
    assert ties >= 10
    assert wrong >= 3


# --- the search itself ----------------------------------------------------------------------------------------------


def _misclassifies_from(image: Tensor, distance: Fraction) -> Program:
    """Class 1 at exactly this distance and beyond, decided in fractions."""

    def logits(x: Tensor) -> Tensor:
        centre = fractions(image)
        squares = [sum((a - b) ** 2 for a, b in zip(fractions(point), centre, strict=True)) for point in x]
        return torch.tensor([[0.0, 1.0] if square >= distance**2 else [1.0, 0.0] for square in squares])

    return logits


def test_the_search_stays_strictly_inside_and_reaches_the_last_roundings() -> None:
    """A program that is right below 0.3 and wrong from there on: 0.3 is a right radius, 0.3 + 1e-15 is not."""
    image = torch.tensor([0.4, 0.7], dtype=torch.float64).view(1, 1, 2)
    direction = torch.tensor([[0.0, 0.0], [3.0, 4.0]], dtype=torch.float64)
    search = RoundingSearch(
        _misclassifies_from(image, Fraction(0.3)), lambda x: x.flatten(1) @ direction.T, torch.float64
    )
    assert search(image, 0, 0.3) is None
    point = search(image, 0, 0.3 + 1e-15)
    assert point is not None
    assert Fraction(0.3) ** 2 <= sum((a - b) ** 2 for a, b in zip(fractions(point), fractions(image), strict=True))
    assert strictly_inside(point, image, 0.3 + 1e-15) and not strictly_inside(point, image, 0.3)


def test_distances_are_compared_exactly() -> None:
    image, point = torch.zeros(1, 1, 2), torch.tensor([0.375, 0.5]).view(1, 1, 2)
    assert not strictly_inside(point, image, 0.625)
    assert strictly_inside(point, image, 0.6250000000000001)


def test_pulled_points_round_to_the_same_number_and_are_no_further_away() -> None:
    """Powers of two, where the spacing changes, zero and subnormals included; the image's own gives the image."""
    generator = torch.Generator().manual_seed(0)
    exponent = torch.randint(-44, 3, (400, 1, 2, 3), generator=generator).float()
    stored = torch.randn(400, 1, 2, 3, generator=generator) * 10.0**exponent
    stored[0] = torch.tensor([[0.5, 0.25, 1.0], [0.0, -0.5, 2.0**-149]])
    image = torch.rand(1, 2, 3, generator=generator, dtype=torch.float64)
    pulled = nearest_that_rounds_to(stored, image)
    assert torch.equal(pulled.float(), stored)
    assert bool(((pulled - image).abs() <= (stored.double() - image).abs()).all())
    assert bool((pulled != stored.double()).any())
    assert torch.equal(nearest_that_rounds_to(image.float()[None], image)[0], image)
