"""How much of its pair bounds a network uses: numbers worked out by hand, and where they are shown."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import lip_plugin as lp
from lip_plugin.cli import run
from lip_plugin.data import ImageSet
from lip_plugin.evaluate import Request, evaluate_images, gradient_over_pair_bound
from lip_plugin.evaluate.certified import given_images
from lip_plugin.evaluate.tightness import tightness_estimate
from lip_plugin.network import Activation, Dense, Flatten, Head, Operator
from lip_plugin.report import report_document

SHAPE = (1, 1, 2)


def network(
    *layers: Operator, rows: list[list[float]], bias: list[float] | None = None, dtype: torch.dtype = torch.float64
) -> lp.CertifiedClassifier:
    """Of images of two pixels."""
    head = Head(torch.tensor(rows, dtype=dtype), torch.tensor(bias or [0.0] * len(rows), dtype=dtype))
    wide = [layer.map_tensors(lambda value: value.to(dtype)) for layer in layers]
    return lp.CertifiedClassifier([Flatten(), *wide], head, input_shape=SHAPE)


def dense(*diagonal: float) -> Dense:
    return Dense(torch.diag(torch.tensor(diagonal, dtype=torch.float64)))


def pixels(*pairs: tuple[float, float]) -> Tensor:
    return torch.tensor(pairs, dtype=torch.float64).view(-1, *SHAPE)


def test_a_linear_classifier_uses_all_of_it() -> None:
    model = network(rows=[[1.0, 0.0], [0.0, 2.0], [-1.0, -1.0]])
    found = gradient_over_pair_bound(model, torch.rand(50, *SHAPE, generator=torch.Generator().manual_seed(0)))
    assert torch.allclose(found, torch.ones(50, dtype=torch.float64), rtol=1e-9)
    assert bool((found <= 1.0).all())


def test_two_layers_that_stretch_different_directions() -> None:
    """diag(1, 3) diag(2, 1): the bound is 6. Rows that differ along the first axis see 2, along the second 3."""
    layers = (dense(2.0, 1.0), dense(1.0, 3.0))
    first = network(*layers, rows=[[1.0, 0.0], [-1.0, 0.0]])
    second = network(*layers, rows=[[0.0, 1.0], [0.0, -1.0]])
    both = network(*layers, rows=[[1.0, 1.0], [-1.0, -1.0]])
    x = pixels((0.3, 0.6))
    assert float(gradient_over_pair_bound(first, x)) == pytest.approx(2 / 6, rel=1e-8)
    assert float(gradient_over_pair_bound(second, x)) == pytest.approx(3 / 6, rel=1e-8)
    assert float(gradient_over_pair_bound(both, x)) == pytest.approx(math.hypot(2, 3) / math.sqrt(2) / 6, rel=1e-8)


def test_the_class_that_decides_the_radius_counts_not_the_runner_up() -> None:
    """At (1, 0.5) logits are 1, 0.9 and 0.2; gaps over bounds 0.1 / (0.1 * 2) and 0.8 / (4 * 2): the third decides.

    Features are diag(1, 2) x, of constant 2: class 2 differs along the second axis, of gradient 4 * 2, class 1 along
    the first, of gradient 0.1.
    """
    model = network(dense(1.0, 2.0), rows=[[1.0, 0.0], [0.9, 0.0], [1.0, 4.0]], bias=[0.0, 0.0, -4.8])
    x = pixels((1.0, 0.5))
    assert model(x)[0].tolist() == pytest.approx([1.0, 0.9, 0.2])
    assert float(lp.certify(model, x).radius) == pytest.approx(0.8 / 8)
    assert float(gradient_over_pair_bound(model, x)) == pytest.approx(1.0, rel=1e-8)
    nearer = network(dense(1.0, 2.0), rows=[[1.0, 0.0], [0.9, 0.0], [1.0, 4.0]], bias=[0.0, 0.0, -40.0])
    assert float(gradient_over_pair_bound(nearer, x)) == pytest.approx(0.5, rel=1e-8)


def test_what_is_switched_off_is_not_used() -> None:
    """relu(x - 0.5) in each pixel: at (0.9, 0.2) only the first one moves; rows differ by (2, -2)."""
    halves = Dense(torch.eye(2, dtype=torch.float64), torch.tensor([-0.5, -0.5], dtype=torch.float64))
    model = network(halves, Activation("relu"), rows=[[1.0, -1.0], [-1.0, 1.0]])
    found = gradient_over_pair_bound(model, pixels((0.9, 0.2), (0.2, 0.9), (0.9, 0.8), (0.1, 0.2)))
    assert found.tolist() == pytest.approx([math.sqrt(0.5), math.sqrt(0.5), 1.0, 0.0], rel=1e-8)


def test_classes_with_equal_rows_decide_nothing() -> None:
    """Their gap is constant; where all are equal there is no ratio."""
    model = network(rows=[[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]], bias=[0.0, -0.1, 0.0])
    assert float(gradient_over_pair_bound(model, pixels((0.9, 0.1)))) == pytest.approx(1.0, rel=1e-8)
    flat = network(rows=[[1.0, 0.0], [1.0, 0.0]], bias=[0.0, -0.1])
    assert gradient_over_pair_bound(flat, pixels((0.9, 0.1))).isnan().all()
    images = given_images(flat, pixels((0.9, 0.1)), torch.tensor([0]))
    assert tightness_estimate(flat, images, lp.certify(flat, pixels((0.9, 0.1)))) is None


def test_it_depends_on_the_image_alone() -> None:
    """Neither on its neighbours, nor on modes that the caller has set."""
    halves = Dense(torch.eye(2, dtype=torch.float64), torch.tensor([-0.5, -0.5], dtype=torch.float64))
    model = network(halves, Activation("relu"), dense(1.0, 3.0), rows=[[1.0, 0.0], [0.0, 1.0]], dtype=torch.float32)
    x = torch.rand(70, *SHAPE, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode(), torch.autocast("cpu"):
        together = gradient_over_pair_bound(model, x)
    assert torch.equal(together, torch.cat([gradient_over_pair_bound(model, one[None]) for one in x]))
    assert len(gradient_over_pair_bound(model, x[:0])) == 0


def test_median_is_over_right_and_certified_images_alone() -> None:
    """Ratios are sqrt(1/2) where one pixel is above a half, 1 where both are; wrong ones and radius 0 do not count."""
    halves = Dense(torch.eye(2, dtype=torch.float64), torch.tensor([-0.5, -0.5], dtype=torch.float64))
    model = network(halves, Activation("relu"), rows=[[1.0, -1.0], [-1.0, 1.0]])
    x = pixels((0.9, 0.2), (0.9, 0.8), (0.8, 0.3), (0.2, 0.9), (0.9, 0.7), (0.1, 0.2))
    y = torch.tensor([0, 1, 0, 1, 1, 0])  # the second and the fifth are wrong; the last one is a tie
    report = evaluate_images(model, given_images(model, x, y), Request.of(0.01, tightness=True))
    assert report.tightness is not None
    assert report.tightness.images == 3
    assert report.tightness.median == pytest.approx(math.sqrt(0.5), rel=1e-8)
    none = evaluate_images(model, given_images(model, x[-1:], y[-1:]), Request.of(0.01, tightness=True))
    assert none.tightness is None
    assert evaluate_images(model, given_images(model, x, y), Request.of(0.01)).tightness is None, "nobody asked"
    assert "median_gradient_over_pair_bound" not in report_document(none)["lipschitz"]


def test_at_most_256_images_from_all_over_the_file() -> None:
    """Sorted by class: half of the images have ratio 1/2, behind the other half."""
    model = network(dense(1.0, 2.0), rows=[[1.0, 0.0], [0.0, 1.0]])
    narrow = network(dense(1.0, 2.0), rows=[[1.0, 0.0], [-1.0, 0.0]])
    y = np.repeat([0, 1], 640)
    data = np.where(y[:, None] == 0, [200, 10], [10, 200]).astype(np.uint8).reshape(-1, 1, 1, 2)
    images = ImageSet(data, y, "pairs", "made", "test", 2)
    x = torch.from_numpy(data).float() / 255
    found = tightness_estimate(model, images, lp.certify(model, x))
    assert found is not None and found.images == 256
    expected = math.hypot(1, 2) / (math.sqrt(2) * 2)
    assert found.median == pytest.approx(expected, rel=1e-6)
    only = tightness_estimate(narrow, images, lp.certify(narrow, x))
    assert only is not None and only.images == 128, "the second half is wrong"


@pytest.mark.parametrize(("stretch", "advised"), [(1.0, False), (10.0, True)])
def test_certify_shows_it_and_advises(
    stretch: float, advised: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The rows differ along the first axis, of gradient 1; the bound is that of the second one."""
    layers = (dense(1.0, stretch), dense(1.0, 1.0))
    model = network(*layers, rows=[[1.0, 0.0], [-1.0, 0.0]], bias=[-0.5, 0.5], dtype=torch.float32)
    model.save(tmp_path / "net")
    x = np.array([[[[230, 0]]], [[[20, 0]]]], np.uint8)
    np.savez(tmp_path / "images.npz", x=x, y=np.array([0, 1]))
    words = ["certify", str(tmp_path / "net"), "--data", str(tmp_path / "images.npz"), "--out", str(tmp_path / "out")]
    assert run(words) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert f"is {1 / stretch:.3f} of its pair bound, median of 2 certified images" in shown
    document = json.loads((tmp_path / "out" / "report.json").read_text())["lipschitz"]
    assert document["median_gradient_over_pair_bound"] == pytest.approx(1 / stretch, rel=1e-6)
    assert document["gradient_images"] == 2
    page = (tmp_path / "out" / "report.html").read_text()
    assert f">{1 / stretch:.3f}</span>" in page
    advice = "Trained without this bound; its certificate says little."
    assert (advice in shown) == (advice in page) == advised
