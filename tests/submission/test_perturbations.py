"""Stored adversarial points, checked by a calculation of their own, and what rounding does to them."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save
from safetensors.torch import save_file
from torch import Tensor, nn

import lip_plugin as lp
from lip_plugin.errors import RefusedError
from lip_plugin.evaluate import Request, evaluate_images
from lip_plugin.evaluate.given import GivenImages
from lip_plugin.evaluate.points_on_disk import PointsOnDisk
from lip_plugin.evaluate.results import AdversarialImage
from lip_plugin.submission.perturbations import (
    adversarial_points,
    read_perturbations,
    stored_perturbations,
)

from .conftest import EPS, TwoSteps

SHAPE = (1, 4, 4)


def test_stored_points_are_within_eps_misclassified_and_at_the_distance_of_the_report(
    made: Any, data_file: Path, model_dir: Path
) -> None:
    """In NumPy, from the files alone."""
    stored, weights = load_file(made.perturbations.path), load_file(model_dir / "model.safetensors")
    images = np.load(data_file)
    x = images["x"].astype(np.float32) / np.float32(255)
    weight, bias = (next(v for k, v in weights.items() if k.endswith(end)) for end in ("weight", "bias"))
    points = made.submission.points
    assert len(stored["index"]) == sum(status == "broken" for status in points.status[0.5]) > 5
    for index, delta in zip(stored["index"], stored["delta"], strict=True):
        point = (x[index].astype(np.float64) + delta.astype(np.float64)).astype(np.float32)
        assert point.min() >= 0 and point.max() <= 1
        distance = float(np.sqrt(((point.astype(np.float64) - x[index].astype(np.float64)) ** 2).sum()))
        assert distance == pytest.approx(points.adversarial_distance[index], rel=1e-14)
        logits = weight.astype(np.float64) @ point.astype(np.float64).ravel() + bias.astype(np.float64)
        assert logits.argmax() != images["y"][index]
        for eps, status in points.status.items():
            assert (status[index] == "broken") == (distance <= eps)


def test_only_the_distances_of_a_report_change_and_by_no_more_than_rounding(made: Any) -> None:
    before, after = made.report, made.submission
    distance = torch.tensor(after.points.adversarial_distance, dtype=torch.float64)
    assert torch.equal(before.points.distance.isfinite(), distance.isfinite())
    torch.testing.assert_close(distance, before.points.distance, rtol=1e-6, atol=0)
    assert after.report.eps == before.eps
    assert after.points.status == before.points.status
    assert after.report.stages == before.stages


@dataclasses.dataclass(frozen=True)
class Rounded:
    """One pixel at 0.9; class 1 below 3.5e-8. The point at 3.2e-8 is one, its difference rounds to one at 6e-8."""

    model: lp.CertifiedClassifier
    x: Tensor
    report: lp.Report


def rounded_away(eps: float) -> Rounded:
    head = nn.Linear(1, 2)
    head.weight.data, head.bias.data = torch.tensor([[1.0], [0.0]]), torch.tensor([-3.5e-8, 0.0])
    model = lp.wrap(nn.Flatten().eval(), head.eval(), input_shape=(1, 1, 1))
    x, point = torch.tensor([[[[0.9]]]]), torch.tensor([[[3.2e-8]]])
    nothing = evaluate_images(model, GivenImages(x, torch.tensor([0])), Request.of(eps, ["autoattack:fab-t"], audit=0))
    distance = (x[0].double() - point.double()).flatten()
    points = dataclasses.replace(nothing.points, distance=distance)
    report = dataclasses.replace(nothing, points=points, adversarial=(AdversarialImage(0, x[0], point),))
    assert float(distance) <= eps
    naive = adversarial_points(x, (point.double() - x[0].double()).float()[None])
    assert float(model(point[None])[0, 0]) < 0 < float(naive) - 3.5e-8  # rounding alone takes the point away
    return Rounded(model, x, report)


def test_a_point_that_rounding_takes_away_is_moved_along_its_line(tmp_path: Path) -> None:
    case = rounded_away(0.95)
    perturbations, distance, program = stored_perturbations(case.model, case.report, tmp_path / "points")
    point = adversarial_points(case.x, perturbations.delta(0, 1))
    assert 0.0 <= float(point) < 3.5e-8
    assert float(distance) == float(case.x.double() - point.double()) <= 0.95
    assert program == ("float64",)


def test_a_point_that_cannot_be_stored_within_its_eps_is_refused_by_name(tmp_path: Path) -> None:
    eps = float(torch.tensor(0.9).double() - torch.tensor(3.2e-8).double())
    case = rounded_away(eps)
    with pytest.raises(RefusedError, match=r"adversarial point of image 0 does not survive rounding"):
        stored_perturbations(case.model, case.report, tmp_path / "points")


def test_no_point_moves_across_an_eps_of_the_grid(made: Any, tmp_path: Path) -> None:
    """Were it to come within an eps at which its image is said to survive, the report would contradict itself."""
    picture = made.report.adversarial[0]
    found = float(made.report.points.distance[picture.index])
    near = dataclasses.replace(made.report.eps[0], eps=found)
    distance = made.report.points.distance.clone()
    distance[picture.index] = found * (1 + 2.0**-52)
    points = dataclasses.replace(made.report.points, distance=distance)
    report = dataclasses.replace(made.report, points=points, eps=(near, *made.report.eps))
    _, stored, _ = stored_perturbations(made.model, report, tmp_path / "points")
    assert found < float(stored[picture.index]) < found * (1 + 1e-3)


def test_a_report_that_does_not_hold_every_point_is_a_mistake(make: Any) -> None:
    with pytest.raises(ValueError, match="does not hold the adversarial point"):
        make(pictures=2)


def test_what_was_written_is_what_the_library_writes_and_reads_back(made: Any) -> None:
    path = made.perturbations.path
    tensors = load_file(path)
    assert path.read_bytes() == save(tensors)
    found = read_perturbations(path, images=24, image_shape=SHAPE, dtype=torch.float32)
    assert found == dataclasses.replace(made.perturbations, index=found.index)
    assert found.index.tolist() == tensors["index"].tolist()
    for first, last in ((0, 24), (0, 0), (3, 11), (23, 24)):
        index, delta = found.of_images(first, last)
        chosen = (tensors["index"] >= first) & (tensors["index"] < last)
        assert index.tolist() == tensors["index"][chosen].tolist()
        assert np.array_equal(delta.numpy(), tensors["delta"][chosen])


def test_points_on_the_disk_make_the_same_file(made: Any, data_file: Path, tmp_path: Path) -> None:
    """Of a journal, where no process holds them; blocks of 5 and units of several stages."""
    request = Request.of(EPS, [TwoSteps()], audit=0, batch_size=5, pictures=None)
    report = evaluate_images(made.model, made.images, request, journal=tmp_path / "journal")
    assert isinstance(report.adversarial, PointsOnDisk)
    for kept, held in zip(report.adversarial, made.report.adversarial, strict=True):
        assert kept.index == held.index
        assert torch.equal(kept.image, held.image) and torch.equal(kept.adversarial, held.adversarial)
    last = report.adversarial[-1]
    assert torch.equal(last.adversarial, made.report.adversarial[-1].adversarial)
    stored_perturbations(made.model, report, tmp_path / "points")
    assert (tmp_path / "points").read_bytes() == made.perturbations.path.read_bytes()
    for unit in (tmp_path / "journal").glob("aware-attack*"):
        unit.unlink()
    with pytest.raises(lp.ConfigError, match="not there any more"):
        list(report.adversarial)


def test_no_perturbation_at_all_is_a_file_too(tmp_path: Path) -> None:
    path = tmp_path / "adversarial.safetensors"
    save_file({"index": torch.empty(0, dtype=torch.int64), "delta": torch.empty(0, *SHAPE)}, path)
    none = read_perturbations(path, images=24, image_shape=SHAPE, dtype=torch.float32)
    assert len(none) == 0 and none.delta(0, 0).shape == (0, *SHAPE)


INDEX, DELTA = torch.tensor([1, 5]), torch.zeros(2, *SHAPE)


@pytest.mark.parametrize(
    ("tensors", "problem"),
    [
        ({"index": INDEX}, "expected the tensors index and delta"),
        ({"index": INDEX, "delta": DELTA, "x": DELTA}, "expected the tensors index and delta"),
        ({"index": INDEX.int(), "delta": DELTA}, "dtype"),
        ({"index": DELTA, "delta": DELTA}, "expected I64"),
        ({"index": INDEX, "delta": DELTA.double()}, "expected F32"),
        ({"index": INDEX, "delta": DELTA[:1]}, "expected F32"),
        ({"index": INDEX, "delta": torch.zeros(2, 1, 2, 8)}, "expected F32"),
        ({"index": INDEX.flip(0), "delta": DELTA}, "ascend"),
        ({"index": torch.tensor([5, 5]), "delta": DELTA}, "ascend"),
        ({"index": torch.tensor([-1, 5]), "delta": DELTA}, "ascend"),
        ({"index": torch.tensor([1, 24]), "delta": DELTA}, "ascend"),
        ({"index": INDEX, "delta": DELTA / 0}, "NaN or infinite"),
        ({"index": torch.arange(300_000), "delta": torch.zeros(300_000, *SHAPE)}, "expected at most"),
    ],
)
def test_anything_else_is_refused_in_one_line(tmp_path: Path, tensors: dict[str, Tensor], problem: str) -> None:
    path = tmp_path / "adversarial.safetensors"
    save_file({name: value.clone() for name, value in tensors.items()}, path)
    with pytest.raises(lp.CheckpointError, match=problem) as refused:
        read_perturbations(path, images=24, image_shape=SHAPE, dtype=torch.float32)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("content", [b"", b"\xff" * 64, b"\x04" + b"\0" * 7 + b"null", b"\x02" + b"\0" * 7 + b"{}"])
def test_what_is_no_safetensors_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "adversarial.safetensors"
    path.write_bytes(content)
    with pytest.raises(lp.CheckpointError, match=r"adversarial\.safetensors"):
        read_perturbations(path, images=24, image_shape=SHAPE, dtype=torch.float32)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(lp.CheckpointError, match="No such file"):
        read_perturbations(tmp_path / "none", images=24, image_shape=SHAPE, dtype=torch.float32)
