"""The adversarial images that a report keeps: the first few, each at the distance that is reported for it."""

from __future__ import annotations

from typing import Any

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import lip_plugin as lp
from lip_plugin.evaluate import EmpiricalAttack
from lip_plugin.evaluate.request import KEPT_PICTURES
from lip_plugin.evaluate.results import AdversarialImage
from lip_plugin.evaluate.work import Findings
from lip_plugin.network import float64_program


def test_kept_points_are_those_of_the_first_broken_images(linear: Any, gradient_step: EmpiricalAttack) -> None:
    settings: dict[str, Any] = {"eps": (0.05, 0.2), "attacks": [gradient_step], "audit": 0, "batch_size": 8}
    report = lp.compare(linear.model, linear.x, linear.y, **settings)
    broken = report.points.distance.isfinite().nonzero().squeeze(1).tolist()
    assert len(broken) > KEPT_PICTURES
    assert [picture.index for picture in report.adversarial] == broken[:KEPT_PICTURES]
    program = float64_program(linear.model)
    for picture in report.adversarial:
        assert torch.equal(picture.image, linear.x[picture.index])
        apart = torch.linalg.vector_norm(picture.adversarial.double() - picture.image.double())
        assert float(apart) == float(report.points.distance[picture.index])
        assert int(program(picture.adversarial[None]).argmax()) != int(linear.y[picture.index])
        for tensor in (picture.image, picture.adversarial):
            assert tensor.untyped_storage().nbytes() == tensor.numel() * tensor.element_size()


def test_proofs_alone_keep_none(linear: Any) -> None:
    report = lp.compare(linear.model, linear.x, linear.y, eps=0.1, attacks=())
    assert report.adversarial == ()
    assert report.input_shape == (1, 4, 4)


COUNT = 30
Hits = st.dictionaries(st.integers(0, COUNT - 1), st.integers(1, 5), max_size=COUNT)


def stage(hits: dict[int, int]) -> tuple[Tensor, Tensor, list[AdversarialImage]]:
    """What one stage hands on: every distance, and the points of its first few hits."""
    index = torch.arange(COUNT)
    distance = torch.tensor([float(hits.get(i, torch.inf)) for i in range(COUNT)], dtype=torch.float64)
    points = [AdversarialImage(i, torch.zeros(1), torch.tensor([float(hits[i])])) for i in sorted(hits)]
    return index, distance, points[:KEPT_PICTURES]


@given(st.lists(st.lists(Hits, max_size=4), min_size=1, max_size=3))
def test_whatever_is_found_in_whatever_order_the_kept_points_are_the_closest(
    attacks: list[list[dict[int, int]]],
) -> None:
    best: dict[int, int] = {}
    merged = Findings(COUNT)
    for stages in attacks:
        findings = Findings(COUNT)
        for hits in stages:
            index, distance, points = stage(hits)
            findings.add(index, distance, "a", ["float64"] * len(index), points)
            best |= {i: min(hits[i], best.get(i, hits[i])) for i in hits}
        merged = merged.merged(findings)
    kept = {index: float(picture.adversarial) for index, picture in sorted(merged.pictures.items())}
    assert kept == {index: float(best[index]) for index in sorted(best)[:KEPT_PICTURES]}
