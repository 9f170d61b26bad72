"""Networks whose float32 forward is another function: who is attacked, who judges, and what the report says."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import lip_plugin as lp
from lip_plugin.cli import run
from lip_plugin.data import load_shipped
from lip_plugin.evaluate import EmpiricalAttack, compare_certified
from lip_plugin.evaluate.audit import contradictions
from lip_plugin.evaluate.programs import refutes
from lip_plugin.evaluate.request import Request
from lip_plugin.evaluate.restated import restated
from lip_plugin.evaluate.view import AttackView
from lip_plugin.evaluate.work import Findings
from lip_plugin.network import Flatten, Head, L2Pool, Offset, Operator, Scale, float64_function
from lip_plugin.report import points_csv, report_document
from lip_plugin.report.summary import headline, remarks

SHAPE = (1, 4, 4)


def shifted(shift: float, dtype: torch.dtype = torch.float32) -> lp.CertifiedClassifier:
    """A linear classifier of 3 classes behind a shift there and back: the identity, in real numbers."""
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(3, 16, generator=generator).to(dtype)
    there, back = (Offset(torch.tensor(sign * shift, dtype=dtype)) for sign in (1, -1))
    layers: list[Operator] = [there, back] if shift else []
    return lp.CertifiedClassifier([*layers, Flatten()], Head(weight, -weight.sum(1) / 2), input_shape=SHAPE)


def images(count: int = 32) -> tuple[Tensor, Tensor]:
    """Around 0.5, with the labels that real numbers give."""
    x = 0.5 + 0.1 * torch.randn(count, *SHAPE, generator=torch.Generator().manual_seed(1)).clamp(-2, 2)
    return x, shifted(0.0)(x).argmax(1)


class Step(EmpiricalAttack):
    """A step of length eps down the gradient of the margin, where there is one."""

    name = "step"

    def run(self, model: AttackView, x: Tensor, y: Tensor, *, eps: float, seed: int) -> Tensor:
        points = x.clone().requires_grad_(True)
        logits = model(points)
        others = logits.scatter(1, y[:, None], -torch.inf).amax(1)
        (gradient,) = torch.autograd.grad((others - logits.gather(1, y[:, None])[:, 0]).sum(), points)
        return x + 0.999 * eps * gradient / gradient.flatten(1).norm(dim=1).clamp_min(1e-30).view(-1, 1, 1, 1)


def test_an_honest_network_is_attacked_as_before_and_nothing_disagrees() -> None:
    model, (x, y) = shifted(0.0), images()
    report = lp.compare(model, x, y, eps=(0.05, 0.5), attacks=[Step()], audit=0)
    assert [(stage.eps, stage.program) for stage in report.stages] == [(0.05, "forward"), (0.5, "forward")]
    assert not bool(report.points.certificate.strays.any()) and "DISAGREES" not in headline(report)
    assert set(report.points.program) <= {"", "float64"}


def test_where_the_forward_strays_float64_is_attacked_too() -> None:
    """A shift by 2^20 leaves 4 bits of a pixel: the forward is another function, float64 is not, and both fall."""
    model, (x, y) = shifted(2.0**20), images()
    certificate = lp.certify(model, x)
    off = (model(x).double() - float64_function(model)(x)).abs().amax(1)
    assert bool(certificate.strays.all()) and float(off.min()) > 1e-3
    report = lp.compare(model, x, y, eps=0.5, attacks=[Step()], audit=4)
    programs = {stage.program for stage in report.stages}
    assert programs == {"forward", "float64"}
    assert {stage["program"] for stage in report_document(report)["stages"]} == programs
    assert any(
        line.startswith(f"model(x) strays from what is certified on {len(x)} images") for line in remarks(report)
    )
    exact = shifted(0.0, torch.float64)
    for index, (name, found) in enumerate(zip(report.points.program, report.points.distance.tolist(), strict=True)):
        assert (name == "") == (found == float("inf")), index
    assert report.eps[0].verified_robust_accuracy <= report.eps[0].empirical_robust_accuracy["step"]
    robust = lp.compare(exact, x.double(), y, eps=0.5, attacks=[Step()], audit=0).eps[0].empirical_robust_accuracy
    assert report.eps[0].empirical_robust_accuracy["step"] <= robust["step"]  # blind to float64, it would be more


def test_images_on_which_the_forward_disagrees_are_named_and_never_certified() -> None:
    model, (x, y) = shifted(2.0**27), images()
    certificate, ran = lp.certify(model, x), model(x).argmax(1)
    assert torch.equal(certificate.disagrees, ran != certificate.prediction) and bool(certificate.disagrees.any())
    assert not bool((certificate.radius > 0)[certificate.disagrees].any())
    label = lp.predict(model, x, eps=0.0, arithmetic="real").label
    assert bool(((label == lp.ABSTAIN) | (label == ran)).all())
    report = lp.compare(model, x, y, eps=0.01, attacks=())
    count = int(certificate.disagrees.sum())
    assert f"model(x) DISAGREES with its certificate on {count} images, none of them certified" in headline(report)
    assert report_document(report)["disagrees"] == count
    rows = list(csv.DictReader(io.StringIO(points_csv(report))))
    assert [row["disagrees"] == "1" for row in rows] == certificate.disagrees.tolist()
    right = (ran == y) & (certificate.prediction == y)
    assert report.clean_accuracy == float(right.double().mean())
    assert report.eps[0].counts["wrong"] == int((~right).sum())


def test_a_forward_with_one_class_for_all_images_is_certified_by_chance_at_most() -> None:
    """A shift by 2^30 leaves nothing of a pixel."""
    model, (x, y) = shifted(2.0**30), images()
    ran = model(x).argmax(1)
    assert len(ran.unique()) == 1 < len(y.unique())
    certified = {name: lp.certify(model, x, arithmetic=name).radius > 0 for name in ("real", "float32", "forward")}
    assert bool(certified["real"].any()) and not bool((certified["real"] & (y != ran)).any())
    assert not bool(certified["float32"].any()) and not bool(certified["forward"].any())


def test_the_first_line_says_it_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    x, _ = load_shipped("fashion_mnist").first(8).tensors(torch.float32)
    torch.manual_seed(0)
    there, back = nn.Conv2d(1, 1, 1).eval(), nn.Conv2d(1, 1, 1).eval()
    for layer, shift in ((there, 2.0**30), (back, -(2.0**30))):
        nn.init.constant_(layer.weight, 1.0)
        nn.init.constant_(layer.bias, shift)  # pyright: ignore[reportArgumentType]
    model = lp.wrap(nn.Sequential(there, back, nn.Flatten()).eval(), nn.Linear(784, 10).eval(), input_shape=(1, 28, 28))
    disagrees = int(lp.certify(model, x).disagrees.sum())
    assert disagrees > 0
    model.save(tmp_path / "model")
    card = json.loads((tmp_path / "model/card.json").read_text())
    (tmp_path / "model/card.json").write_text(json.dumps({**card, "dataset": "fashion_mnist"}))
    assert run(["certify", str(tmp_path / "model"), "--n", "8", "--eps", "0.1"]) == 0
    assert f"DISAGREES with its certificate on {disagrees} images" in capsys.readouterr().out.splitlines()[0]


class Given(EmpiricalAttack):
    """Returns the points it was made with."""

    name = "given"

    def __init__(self, points: Tensor) -> None:
        self._points = points

    def run(self, model: AttackView, x: Tensor, y: Tensor, *, eps: float, seed: int) -> Tensor:
        return self._points


def test_a_point_that_the_forward_alone_leaves_is_no_contradiction_of_real_but_is_never_certified() -> None:
    """Class 1 wins by the second pixel, which the shift rounds to multiples of 1/8: half of 1/8 decides in float32."""
    weight = torch.tensor([[0.0, 0.0], [0.0, 1.0]])
    shift = [Offset(torch.tensor(sign * 2.0**20)) for sign in (1, -1)]
    model = lp.CertifiedClassifier([*shift, Flatten()], Head(weight, torch.tensor([0.05, 0.0])), input_shape=(1, 1, 2))
    x, y = torch.tensor([0.5, 0.13]).view(1, 1, 1, 2), torch.tensor([1])
    point = torch.tensor([0.5, 0.058]).view(1, 1, 1, 2)  # right in real numbers, 0 against 0.05 in float32
    assert int(model(x).argmax()) == 1 and int(model(point).argmax()) == 0
    assert float(lp.certify(model, x).radius) > 0.072 > 0.0 == float(lp.certify(model, x, arithmetic="forward").radius)
    report = lp.compare(model, x, y, eps=0.0725, attacks=[Given(point)], audit=0, skip_certified=False)
    assert report.status == "ok" and report.points.program == ("forward",)
    assert report.points.status[0.0725] == ("broken",) and report.eps[0].verified_robust_accuracy == 0.0
    assert report.points.disagrees.tolist() == [True] and "DISAGREES" in headline(report)
    assert report.audit.smallest_distance_over_radius is None  # it says nothing about what the radius speaks of
    found = report.points.distance, report.points.attack, report.points.program
    again = restated(report, *found, attacked_certified=1)
    assert (again.status, again.problems, again.audit) == ("ok", (), report.audit)
    of_the_forward = dataclasses.replace(report.points.certificate, arithmetic="forward")
    claimed = dataclasses.replace(report, points=dataclasses.replace(report.points, certificate=of_the_forward))
    assert restated(claimed, *found, attacked_certified=1).status == "failed"
    assert not refutes("forward", "real") and refutes("float64", "real") and refutes("forward", "forward")


def test_forward_certificates_hold_where_real_ones_would_not() -> None:
    model, (x, _) = shifted(2.0**10), images()
    real, forward = (lp.certify(model, x, arithmetic=name) for name in ("real", "forward"))
    assert bool((forward.radius <= real.radius).all()) and bool((forward.radius > 0).any())
    assert bool((forward.radius < real.radius - 1e-4)[forward.radius > 0].all())


def test_squares_that_vanish_in_float32_certify_nothing() -> None:
    """Pixels times 1e-26 before an l2 pool and times 1e26 behind it: the identity, but black in float32."""
    small, large = (Scale(torch.tensor(value)) for value in (1e-26, 1e26))
    weight = torch.tensor([[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]])
    head = Head(weight, torch.tensor([0.0, 0.0, 0.05]))
    model = lp.CertifiedClassifier([small, L2Pool((1, 1)), large, Flatten()], head, input_shape=(1, 2, 2))
    x = torch.tensor([[0.9, 0.1, 0.1, 0.1], [0.1, 0.9, 0.1, 0.1]]).view(2, 1, 2, 2)
    assert model(x).argmax(1).tolist() == [2, 2] and lp.certify(model, x).prediction.tolist() == [0, 1]
    assert lp.predict(model, x, eps=0.0).label.tolist() == [lp.ABSTAIN] * 2
    report = lp.compare(model, x, torch.tensor([0, 1]), eps=0.1, attacks=[Step()], audit=0)
    assert report.eps[0].counts["certified"] == 0 and int(report.points.disagrees.sum()) == 2


@pytest.mark.parametrize("shift", [0.0, 2.0**10])
def test_an_inflated_certificate_of_the_forward_is_caught(shift: float) -> None:
    """Two per cent beyond the boundary, and what a shift by 2^10 costs given back, with a point of either forward."""
    model, (x, y) = shifted(shift), images()
    honest = lp.certify(model, x, arithmetic="forward")
    real = lp.certify(model, x).radius
    inflated = dataclasses.replace(honest, radius=torch.maximum(honest.radius, 1.02 * real))
    eps = sorted({float(radius) for radius in (1.01 * real).tolist() if radius > 0})
    plan = Request.of(eps, [Step()], audit=0, skip_certified=False)
    assert compare_certified(model, x, y, honest, plan).status == "ok"
    with pytest.raises(lp.SoundnessError, match="unsound certificate"):
        compare_certified(model, x, y, inflated, plan)


def test_a_nearer_point_of_the_forward_alone_does_not_hide_a_refutation() -> None:
    """Inside a real radius: at 0.1 the forward alone is deceived, at 0.2 float64 is. Found in either order."""
    index, radius = torch.tensor([0]), torch.tensor([0.5], dtype=torch.float64)
    found = [("forward", 0.1, "near"), ("float64", 0.2, "far")]
    for order in (found, found[::-1]):
        one, merged = Findings(1), Findings(1)
        for program, distance, attack in order:
            alone = Findings(1)
            for findings in (one, alone):
                findings.add(index, torch.tensor([distance], dtype=torch.float64), attack, [program])
            merged = merged.merged(alone)
        for findings in (one, merged):
            assert (float(findings.distance), findings.attack, findings.program) == (0.1, ["near"], ["forward"])
            (line,) = contradictions(radius, *findings.refuting("real"))
            assert "far found a misclassified point at distance 0.2" in line
            (line,) = contradictions(radius, *findings.refuting("forward"))
            assert "near found a misclassified point at distance 0.1" in line


def test_who_counts_is_named_even_where_a_batch_rounds_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    """A forward that is deceived nearer to the image in a batch than alone: what counts is what one image shows."""
    model = lp.CertifiedClassifier([Flatten()], Head(torch.eye(2), torch.zeros(2)), input_shape=(1, 1, 2))

    def batched(self: lp.CertifiedClassifier, x: Tensor) -> Tensor:
        boundary = 0.6 + 0.02 * (len(x) > 1)
        first = x.flatten(1)[:, :1]
        return torch.cat([first, torch.full_like(first, boundary)], 1)

    monkeypatch.setattr(lp.CertifiedClassifier, "forward", batched)
    x = torch.tensor([0.9, 0.1]).view(1, 1, 1, 2).repeat(3, 1, 1, 1)
    points = x.clone()
    points[:, 0, 0, 0] = torch.tensor([0.5, 0.61, 0.89])  # misclassified; in a batch only; never
    result = Given(points)(model, x, torch.zeros(3, dtype=torch.long), eps=1.0)
    assert result.success.tolist() == [True, False, False] and result.program == ("forward", "", "")
    assert float(result.distance[0]) == pytest.approx(0.3, abs=1e-5)
    assert result.distance[1:].tolist() == [float("inf")] * 2


@pytest.mark.parametrize("shift", [0.0, 2.0**20])
def test_the_bar_counts_both_programs(shift: float, monkeypatch: pytest.MonkeyPatch) -> None:
    totals: list[int] = []
    done: list[int] = []

    @contextmanager
    def bar(label: str, *, total: int, enabled: bool) -> Generator[Callable[[int, str], None]]:
        totals.append(total)
        yield lambda count, note: done.append(count)

    monkeypatch.setattr("lip_plugin.evaluate.side_by_side.progress_bar", bar)
    x, y = images()
    lp.compare(shifted(shift), x, y, eps=(0.1, 0.5), attacks=[Step()], audit=2, progress=True)
    assert [sum(done)] == totals
