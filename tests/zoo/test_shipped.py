"""Every shipped model: loads, is what its card says, and its measured figures are re-measured.

On the shipped images in every run; on a whole test split where LIP_TEST_DATA names a folder with one folder
per data set (LIP_TEST_DATA/cifar10, ...), in the layouts that `lip certify --data-dir` takes.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
import torch

import lip_plugin as lp
from lip_plugin.certificates import wilson_interval95
from lip_plugin.data import load_images, load_shipped, shipped_datasets
from lip_plugin.evaluate import Request, evaluate_images
from lip_plugin.schema.figures import share_of_percent, shares_by_eps
from lip_plugin.zoo import find_model

NAMES = lp.list_models()


def test_all_weights_together_leave_the_package_small() -> None:
    assert sum((find_model(name)[0] / "model.safetensors").stat().st_size for name in NAMES) < 50_000_000


def test_the_demo_model_is_shipped() -> None:
    assert "LipPlugin2026_LiResNet_Demo" in NAMES


@pytest.mark.parametrize("name", NAMES)
def test_card_and_weights_belong_together(name: str) -> None:
    directory, card = find_model(name)
    model = lp.load_model(name)
    weights = (directory / "model.safetensors").read_bytes()
    assert hashlib.sha256(weights).hexdigest() == card.sha256
    assert len(weights) < 20_000_000
    assert model.digest == card.digest
    assert (model.input_shape, model.num_classes) == (card.input_shape, card.num_classes)
    assert model.num_parameters == card.params
    with lp.bounds_of("tight"):
        bound = lp.lipschitz_upper_bound(model).value
    assert bound <= lp.lipschitz_upper_bound(model).value <= 1.003 * bound
    assert bound == pytest.approx(card.measured.lipschitz_upper_bound, rel=1e-6)
    for field in ("licence", "based_on", "paper", "authors", "eps_train", "eps_grid"):
        assert getattr(card, field), f"the card lacks {field}"
    for key in ("command", "hardware", "seed", "epochs", "bound"):
        assert key in card.measured.model_dump()


WITH_IMAGES = [name for name in NAMES if lp.model_card(name).dataset in shipped_datasets()]


@pytest.mark.parametrize("name", WITH_IMAGES)
def test_measured_figures_hold_on_the_shipped_images(name: str) -> None:
    """The shipped slice is a part of the test split: its shares must be compatible with the card's."""
    card = lp.model_card(name)
    assert card.dataset is not None
    x, y = load_shipped(card.dataset).tensors(torch.float32)
    certificate = lp.certify(lp.load_model(name), x)
    assert card.measured.clean_accuracy is not None
    figures = {0.0: share_of_percent(card.measured.clean_accuracy)}
    figures |= shares_by_eps(card.measured.verified_robust_accuracy)
    assert len(figures) >= 4
    for eps, share in figures.items():
        proved = (certificate.prediction == y) & (certificate.radius > eps)
        low, high = wilson_interval95(int(proved.sum()), len(y))
        assert low - 0.02 <= share <= high + 0.02, (eps, share, low, high)


@pytest.mark.parametrize("name", NAMES)
def test_measured_figures_are_those_of_the_whole_test_split(name: str) -> None:
    card = lp.model_card(name)
    assert card.dataset is not None
    folder = Path(os.environ.get("LIP_TEST_DATA", "")) / card.dataset
    if "LIP_TEST_DATA" not in os.environ or not folder.is_dir():
        pytest.skip(f"no {card.dataset} under LIP_TEST_DATA")
    request = Request.of(card.eps_grid, bound="tight")  # as cards are measured
    report = evaluate_images(lp.load_model(name), load_images(card.dataset, "test", folder), request)
    assert report.dataset.n == card.measured.images
    assert round(100 * report.clean_accuracy, 2) == pytest.approx(card.measured.clean_accuracy, abs=0.02)
    for result in report.eps:
        share = shares_by_eps(card.measured.verified_robust_accuracy)[result.eps]
        assert result.verified_robust_accuracy == pytest.approx(share, abs=0.0002)


def test_shipped_images_are_the_first_of_the_test_file() -> None:
    """The first labels of Fashion-MNIST's test split are public knowledge; pixels span the whole range."""
    images = load_shipped("fashion_mnist")
    assert len(images) >= 512
    assert images.labels[:10].tolist() == [9, 2, 1, 1, 6, 1, 4, 6, 5, 7]
    assert images.pixels.shape[1:] == (1, 28, 28)
    assert (int(images.pixels.min()), int(images.pixels.max())) == (0, 255)
    assert (Path(lp.__file__).parent / "data" / "slices" / "ATTRIBUTION.md").is_file()
