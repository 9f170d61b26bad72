"""Submissions as large as a test set, made up without proofs and attacks: for what only reads them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

import lip_plugin as lp
from lip_plugin.certificates import Certificate, LipschitzBound
from lip_plugin.data import find_dataset
from lip_plugin.data.images import ImageSet
from lip_plugin.evaluate import AuditResult, DatasetSummary, EpsResult, Report
from lip_plugin.evaluate.results import Cost, Points, Status, summarise_model
from lip_plugin.network import Flatten, Head
from lip_plugin.network.record import dump_weights, technical_record
from lip_plugin.report.document import points_table, report_values
from lip_plugin.submission.submission import Submission
from lip_plugin.types import ImageShape
from lip_plugin.zoo import ModelCard

NAME = "LipPlugin2026_Toy_S"
EPS = (36 / 255, 0.25, 72 / 255, 108 / 255, 0.5, 1.0)
FIRST_LABELS = (3, 8, 8, 0, 6, 6, 1, 6, 3, 1)
SURVIVES = 0.51236


def network(
    classes: int = 10, shape: ImageShape = (3, 32, 32), dtype: torch.dtype = torch.float32
) -> lp.CertifiedClassifier:
    """Gives an image the class whose pixel is the brightest of the first few."""
    weight = torch.eye(classes, int(np.prod(shape)), dtype=dtype)
    return lp.CertifiedClassifier([Flatten()], Head(weight), input_shape=shape)


def card(model: lp.CertifiedClassifier, **fields: Any) -> ModelCard:
    told = {"schema": "lip-card/1", "name": NAME, "dataset": "cifar10", "additional_data": False, **fields}
    return ModelCard.model_validate({**technical_record(model, dump_weights(model)), **told})


def labels(count: int = 10_000, classes: int = 10, first: Sequence[int] = FIRST_LABELS) -> npt.NDArray[np.int64]:
    """Every class equally often, beginning as CIFAR-10's test labels do."""
    rest = np.bincount(first, minlength=classes)
    filled = [label for label in range(classes) for _ in range(count // classes - rest[label])]
    return np.array([*first, *filled], np.int64)


def images(truth: npt.NDArray[np.int64], *, wrong: int = 0, name: str = "cifar10", split: str = "test") -> ImageSet:
    """What `network` classifies as ``truth``, but for the first ``wrong`` images."""
    pixels = np.zeros((len(truth), 3 * 32 * 32), np.uint8)
    shown = truth.copy()
    shown[:wrong] = (shown[:wrong] + 1) % 10
    pixels[np.arange(len(truth)), shown] = 255
    return ImageSet(pixels.reshape(-1, 3, 32, 32), truth, name, f"{name} test split", split)


def summary(name: str, truth: npt.NDArray[np.int64], *, split: str = "test", in_order: bool = True) -> DatasetSummary:
    """As if these labels were those of official images; of a split that is not the test split as somebody's own."""
    count, record = len(truth), find_dataset(name)
    classes, source = len(np.unique(truth)), f"{name} {split} split"
    if split != "test" or record is None or record.test is None:
        return DatasetSummary("own images", "", count, source, classes)
    of, of_classes = record.test.images, record.num_classes
    return DatasetSummary(name, split, count, source, classes, of=of, in_order=in_order, of_classes=of_classes)


def submission(
    model: lp.CertifiedClassifier | None = None,
    *,
    truth: npt.NDArray[np.int64] | None = None,
    wrong: int = 0,
    eps: Sequence[float] = EPS,
    attacks: tuple[str, ...] = ("autoattack",),
    dataset: str = "cifar10",
    split: str = "test",
    in_order: bool = True,
    skipped: bool = False,
    arithmetic: str = "real",
    bound: LipschitzBound | None = None,
    status: Any = "ok",
    **fields: Any,
) -> Submission:
    """``wrong`` of the first images are misclassified; radii are spread over [0, 3); ``fields`` are the card's."""
    model = network() if model is None else model
    truth = labels() if truth is None else truth
    count = len(truth)
    target = torch.from_numpy(truth)
    correct = torch.arange(count) >= wrong
    radius = torch.arange(count).mul(7919).remainder(count).double() / count * 3
    prediction = torch.where(correct, target, (target + 1) % model.num_classes)
    never = torch.zeros(count, dtype=torch.bool)
    certificate = Certificate(prediction, radius, radius, never, never, arithmetic, model.digest)
    distance = torch.full((count,), torch.inf, dtype=torch.float64)
    words: tuple[Status, Status] = ("wrong", "certified")
    status_at = {one: tuple(words[sure] for sure in (correct & (radius > one)).tolist()) for one in sorted(eps)}
    described = card(model, **{"dataset": dataset, **fields})
    report = Report(
        status=status,
        problems=(),
        model=summarise_model(model, name=described.name, architecture=described.architecture or ""),
        dataset=summary(dataset, truth, split=split, in_order=in_order),
        lipschitz=bound or LipschitzBound(1.0, (), "product of verified operator norms"),
        arithmetic=arithmetic,
        clean_accuracy=float(correct.double().mean()),
        eps=tuple(_result(one, correct & (radius > one), attacks) for one in sorted(eps)),
        audit=AuditResult(0, 0, None),
        skipped_certified=skipped,
        attacks=attacks,
        cost=Cost(0.0, 0.0, 0),
        environment={"lip_plugin": "0.1.0", "torch": "2.13.0", "pyautoattack": "0.2.0", "seed": 0},
        points=Points(target, certificate, distance, ("",) * count, ("",) * count, status_at),
    )
    return Submission("robustbench", described, model, report_values(report), points_table(report), "0" * 64)


def _result(eps: float, certified: torch.Tensor, attacks: tuple[str, ...]) -> EpsResult:
    count = int(certified.sum())
    share = count / len(certified)
    counts: Any = {"certified": count, "undecided": 0, "broken": 0, "wrong": len(certified) - count}
    return EpsResult(eps, share, (share, share), dict.fromkeys(attacks, SURVIVES), counts)
