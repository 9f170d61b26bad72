"""A frozen network in the hands of other tools: torch.export, torch.compile, pickle, per-image gradients."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import lip_plugin as lp

SHAPE = (3, 8, 8)


@pytest.fixture
def model() -> lp.CertifiedClassifier:
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(512, 10)).eval()
    return lp.wrap(layers, input_shape=SHAPE)


@pytest.fixture
def images() -> Tensor:
    return torch.rand(4, *SHAPE, generator=torch.Generator().manual_seed(0))


def _undisturbed(model: lp.CertifiedClassifier, x: Tensor, digest: str, radius: Tensor) -> None:
    """Nothing of the tool is left in the network: the same digest and the same proof."""
    assert model.digest == digest
    assert torch.equal(lp.certify(model, x).radius, radius)


def test_export_with_another_batch_size(model: lp.CertifiedClassifier, images: Tensor) -> None:
    digest, radius = model.digest, lp.certify(model, images).radius
    batch: Any = torch.export.Dim("batch", min=1, max=64)
    program = torch.export.export(model, (images,), dynamic_shapes=({0: batch},))
    twice = torch.cat([images, images.flip(0), images])
    torch.testing.assert_close(program.module()(twice), model(twice), rtol=0, atol=1e-6)
    _undisturbed(model, images, digest, radius)


def test_compile(model: lp.CertifiedClassifier, images: Tensor) -> None:
    digest, radius = model.digest, lp.certify(model, images).radius
    compiled: Any = torch.compile(model, backend="eager")
    torch.testing.assert_close(compiled(images), model(images), rtol=0, atol=1e-6)
    _undisturbed(model, images, digest, radius)


def test_pickle(model: lp.CertifiedClassifier, images: Tensor) -> None:
    again = pickle.loads(pickle.dumps(model))
    _undisturbed(again, images, model.digest, lp.certify(model, images).radius)


def test_gradients_per_image(model: lp.CertifiedClassifier, images: Tensor) -> None:
    def one_logit(image: Tensor) -> Tensor:
        return model(image[None])[0, 0]

    found: Any = torch.func.vmap(torch.func.grad(one_logit))(images)
    wanted = images.clone().requires_grad_()
    model(wanted)[:, 0].sum().backward()
    torch.testing.assert_close(found, wanted.grad, rtol=0, atol=1e-6)
