"""A small model directory, images that fit it, and a submission made of them without the command line."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import lip_plugin as lp
from lip_plugin.data import LabelledImages, load_npz
from lip_plugin.evaluate import EmpiricalAttack, Request, evaluate_images
from lip_plugin.evaluate.results import Cost
from lip_plugin.submission.boards.own import OwnBoard
from lip_plugin.submission.evaluation import make_submission, stored_card
from lip_plugin.submission.perturbations import Perturbations
from lip_plugin.submission.submission import Submission
from lip_plugin.submission.write import write_bundle
from lip_plugin.verification import Verification, verify_bundle
from lip_plugin.zoo import ModelCard

SHAPE = (1, 4, 4)
EPS = (0.02, 0.1, 0.5)


@pytest.fixture(scope="session")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A linear classifier of 4 classes on 4x4 images, with a card whose text would like to be markup."""
    torch.manual_seed(0)
    head = nn.Linear(16, 4)
    head.bias.data = -head.weight.data.sum(1) / 2
    directory = tmp_path_factory.mktemp("models") / "tiny"
    lp.wrap(nn.Flatten().eval(), head.eval(), input_shape=SHAPE).save(directory)
    path = directory / "card.json"
    card = json.loads(path.read_text("utf-8"))
    card |= {"authors": "A | B\n## not a heading", "licence": "MIT", "paper": "On {braces}", "eps_grid": [0.1]}
    path.write_text(json.dumps(card), "utf-8")
    return directory


@pytest.fixture(scope="session")
def data_file(tmp_path_factory: pytest.TempPathFactory, model_dir: Path) -> Path:
    """24 uint8 images near the middle of the box, as an .npz; every sixth label is wrong."""
    generator = np.random.default_rng(0)
    x = generator.integers(96, 160, (24, *SHAPE), np.uint8)
    y = lp.load_model(model_dir)(torch.from_numpy(x).float() / 255).argmax(1).numpy()
    y[::6] = (y[::6] + 1) % 4
    path = tmp_path_factory.mktemp("data") / "images.npz"
    np.savez(path, x=x, y=y)
    return path


class Step(EmpiricalAttack):
    """One gradient step of length ``reach`` times eps against the margin towards the runner-up."""

    def __init__(self, reach: float) -> None:
        self.name, self.reach = f"step-{reach:g}", reach

    def run(self, model: nn.Module, x: Tensor, y: Tensor, *, eps: float, seed: int) -> Tensor:
        points = x.clone().requires_grad_(True)
        z = model(points)
        others = z.scatter(1, y[:, None], -torch.inf).amax(1)
        (gradient,) = torch.autograd.grad((z.gather(1, y[:, None])[:, 0] - others).sum(), points)
        length = gradient.flatten(1).norm(dim=1).clamp_min(1e-12)
        return x - self.reach * eps * gradient / length[:, None, None, None]


class TwoSteps(EmpiricalAttack):
    """A short step, and the full one on what is left standing."""

    name = "two-steps"

    @property
    def stages(self) -> tuple[EmpiricalAttack, ...]:
        return Step(0.5), Step(1.0)

    def run(self, model: nn.Module, x: Tensor, y: Tensor, *, eps: float, seed: int) -> Tensor:
        raise NotImplementedError


@dataclass(frozen=True)
class Made:
    """Everything a bundle is written from."""

    submission: Submission
    perturbations: Perturbations
    images: LabelledImages
    model: lp.CertifiedClassifier
    card: ModelCard
    report: lp.Report


Make = Callable[..., Made]


@pytest.fixture(scope="session")
def make(model_dir: Path, data_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Make:
    """make(**settings of `Request.of`): evaluate with `TwoSteps` and make a submission; cost is set to nothing."""

    def made(**settings: Any) -> Made:
        model, images = lp.load_model(model_dir), load_npz(data_file)
        card = stored_card(lp.model_card(str(model_dir)), model)
        chosen: dict[str, Any] = {
            "eps": EPS,
            "attacks": [TwoSteps()],
            "audit": 0,
            "batch_size": 5,
            "pictures": None,
            **settings,
        }
        report = evaluate_images(model, images, Request.of(**chosen))
        report = dataclasses.replace(report, cost=Cost(0.0, 0.0, report.cost.attack_forwards))
        report = report.described(model=dataclasses.replace(report.model, name=card.name, sha256=card.sha256))
        points = tmp_path_factory.mktemp("points") / "points.safetensors"
        submission, perturbations = make_submission(OwnBoard(), card, model, images, report, points)
        return Made(submission, perturbations, images, model, card, report)

    return made


@pytest.fixture(scope="session")
def made(make: Make) -> Made:
    return make()


@pytest.fixture(scope="session")
def honest(made: Made, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("honest") / "bundle"
    write_bundle(made.submission, made.perturbations, made.images, directory)
    return directory


@pytest.fixture
def bundle(honest: Path, tmp_path: Path) -> Path:
    """A copy to tamper with."""
    return Path(shutil.copytree(honest, tmp_path / "bundle"))


@pytest.fixture
def verified(data_file: Path) -> Callable[[Path], Verification]:
    return lambda directory: verify_bundle(directory, images=lambda card, count: load_npz(data_file).first(count))
