"""A classifier whose certificate has a closed form, computed here in NumPy from the numbers alone.

Images (1, 4, 4) -> a convolution over disjoint 2x2 patches (2 channels) -> ReLU -> flatten (8) -> logits (3). The
patches do not overlap, so the features' constant is the largest singular value of the kernel as a 2x4 matrix.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import lip_plugin as lp
from lip_plugin.evaluate import EmpiricalAttack
from lip_plugin.evaluate.view import AttackView
from lip_plugin.models import CertifiableModel, LiResNetPP

SHAPE = (1, 4, 4)
EPS = 0.11
"""Between the smallest and the largest radius of `images`: `lp.predict` abstains on some of them."""

Numbers = Mapping[str, NDArray[np.float64]]
Array = NDArray[Any]


@dataclass(frozen=True)
class Claims:
    """What is true of four images: logits (B, 3), prediction (B,), radius (B,); and of the map into features."""

    logits: Array
    prediction: Array
    radius: Array
    lipschitz: float


def numbers(seed: int = 131) -> Numbers:
    """The weights, by the names of the frozen network's buffers, each a float32 number. All classes occur, no ties."""
    draw = np.random.default_rng(seed).standard_normal
    shapes = {"00_weight": (2, 1, 2, 2), "00_bias": (2,), "03_weight": (3, 8), "03_bias": (3,)}
    return {name: draw(shape).astype(np.float32).astype(np.float64) for name, shape in shapes.items()}


def images(dtype: torch.dtype = torch.float32) -> Tensor:
    """(4, 1, 4, 4) in [0,1], each a multiple of 2^-8."""
    pixels = np.random.default_rng(7).integers(0, 257, (4, *SHAPE)) / 256
    return torch.from_numpy(pixels).to(dtype)


def modules(given: Numbers, dtype: torch.dtype = torch.float32) -> tuple[nn.Sequential, nn.Linear]:
    """Features and head for `lp.wrap`."""
    conv, head = nn.Conv2d(1, 2, 2, stride=2), nn.Linear(8, 3)
    for module, index in ((conv, "00"), (head, "03")):
        module.weight = nn.Parameter(torch.from_numpy(given[f"{index}_weight"]).to(dtype))
        module.bias = nn.Parameter(torch.from_numpy(given[f"{index}_bias"]).to(dtype))
    return nn.Sequential(conv, nn.ReLU(), nn.Flatten()).eval(), head.eval()


def network(given: Numbers, dtype: torch.dtype = torch.float32) -> lp.CertifiedClassifier:
    features, head = modules(given, dtype)
    return lp.wrap(features, head, input_shape=SHAPE)


def truth(given: Numbers, x: Tensor) -> Claims:
    """By the closed form."""
    kernel, bias, head = given["00_weight"].reshape(2, 4), given["00_bias"], given["03_weight"]
    pixels = np.asarray(x.detach().tolist())
    patches = pixels.reshape(-1, 2, 2, 2, 2).transpose(0, 1, 3, 2, 4).reshape(-1, 4, 4)  # (B, patch, pixel)
    activations = np.maximum(patches @ kernel.T + bias, 0.0)  # (B, patch, channel)
    logits = activations.transpose(0, 2, 1).reshape(len(pixels), 8) @ head.T + given["03_bias"]
    prediction = logits.argmax(axis=1)
    lipschitz = float(np.linalg.svd(kernel, compute_uv=False)[0])
    top = head[prediction]
    with np.errstate(invalid="ignore", divide="ignore"):
        quotients = (logits.max(axis=1, keepdims=True) - logits) / (
            lipschitz * np.linalg.norm(top[:, None] - head[None], axis=2)
        )
    quotients[np.arange(len(quotients)), prediction] = np.inf
    return Claims(logits, prediction, quotients.min(axis=1), lipschitz)


def held_by(model: lp.CertifiedClassifier) -> Numbers:
    """The numbers in the buffers at this moment."""
    return {name: np.asarray(value.tolist()) for name, value in model.named_buffers()}


@dataclass(frozen=True)
class Said:
    """The answers of the public queries, as they were given."""

    certificate: lp.Certificate
    float64: lp.Certificate
    label: Tensor
    lipschitz: float


def ask(model: lp.CertifiedClassifier, x: Tensor) -> Said:
    return Said(
        lp.certify(model, x),
        lp.certify(model, x, arithmetic="float64"),
        lp.predict(model, x, eps=EPS, arithmetic="float64").label,
        lp.lipschitz_upper_bound(model).value,
    )


def assert_true(said: Said, given: Numbers, x: Tensor) -> None:
    """Every answer is below the truth about the function with these numbers, and within a millionth of it."""
    true = truth(given, x)
    assert true.lipschitz <= said.lipschitz * (1 + 1e-12) <= true.lipschitz * (1 + 1e-6)
    for certificate in (said.certificate, said.float64):
        assert certificate.prediction.tolist() == true.prediction.tolist()
        radius = np.asarray(certificate.radius.tolist())
        assert (radius <= true.radius * (1 + 1e-12)).all()
        assert (radius >= true.radius * (1 - 1e-6)).all()
    expected = np.where(true.radius > EPS, true.prediction, lp.ABSTAIN)
    assert said.label.tolist() == expected.tolist()


class NoAttack(EmpiricalAttack):
    """Returns the images: a comparison in which only the proof counts."""

    name = "none"

    def run(self, model: AttackView, x: Tensor, y: Tensor, *, eps: float, seed: int) -> Tensor:
        return x


def compared(model: lp.CertifiedClassifier, x: Tensor, attack: EmpiricalAttack | None = None) -> lp.Certificate:
    """The certificate in the report of `lp.compare`."""
    y = torch.zeros(x.size(0), dtype=torch.int64, device="cpu")
    report = lp.compare(model, x, y, eps=EPS, attacks=[attack or NoAttack()], audit=0)
    return report.points.certificate


QUERIES: dict[str, Callable[[lp.CertifiedClassifier, Tensor], object]] = {
    "certify": lp.certify,
    "predict": lambda model, x: lp.predict(model, x, eps=EPS),
    "lipschitz_upper_bound": lambda model, x: lp.lipschitz_upper_bound(model),
    "pair_lipschitz_upper_bound": lambda model, x: lp.pair_lipschitz_upper_bound(model),
    "compare": compared,
}
"""Every way to ask for a proof."""


def assert_refused(model: lp.CertifiedClassifier, x: Tensor, words: str, directory: Path) -> None:
    """Every query, and saving, is refused in the library's own words, and nothing is left on disk."""
    for query in QUERIES.values():
        with pytest.raises(lp.ConfigError, match=words):
            query(model, x)
    with pytest.raises(lp.ConfigError, match=words):
        model.save(directory / "model")
    assert list(directory.iterdir()) == []


def assert_runs(model: lp.CertifiedClassifier, given: Numbers, x: Tensor) -> None:
    """``model(x)`` computes the function with these numbers."""
    found = np.asarray(model(x.to(model.dtype)).tolist())
    assert np.allclose(found, truth(given, x).logits, rtol=1e-4, atol=1e-4)


def trainable() -> CertifiableModel:
    """A small model for `lp.freeze`, (1, 8, 8) -> 3 classes."""
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"depth": 1, "width": 4, "dense_width": 8, "dense_depth": 1, "neck_patch": 2}
    return LiResNetPP(input_shape=(1, 8, 8), num_classes=3, **sizes)
