"""The end of a run: certify the test split with the sound bound and write the model directory."""

from __future__ import annotations

import logging
import platform
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from lip_plugin.data import DataSet, LabelledImages, find_dataset
from lip_plugin.evaluate import Report, Request, evaluate_images
from lip_plugin.evaluate.results import summarise_model
from lip_plugin.files import write_atomically
from lip_plugin.network import CertifiedClassifier, require_unaltered
from lip_plugin.network.record import weights_sha256, write_network
from lip_plugin.ranks import Ranks
from lip_plugin.report.document import points_csv, report_values
from lip_plugin.schema import Figures, report_text
from lip_plugin.train.config import TrainConfig

logger = logging.getLogger(__name__)

_DEFAULT_GRID = (36 / 255, 72 / 255, 108 / 255)


def finish(
    config: TrainConfig,
    model: CertifiedClassifier,
    test: LabelledImages,
    directory: Path,
    *,
    origin: Mapping[str, Any],
    ranks: Ranks,
    progress: bool = False,
) -> Report:
    """Certify the test split, shared by the ranks, on the config's device; the first rank writes.

    ``origin`` says how the weights came about and opens the card's measured figures. The card is written
    last: it makes the directory a model directory.
    """
    grid = config.eps_grid or (*_DEFAULT_GRID, config.eps)
    model = model.to(config.device)
    ranks.take_from_leader(model)  # merged weights may round apart on different processors
    proofs = Request.of(grid, tightness=True, bound="tight")
    report = evaluate_images(model, test, proofs, ranks=ranks, progress=progress).described(
        model=summarise_model(model, name=config.name, architecture=config.model.name(), sha256=weights_sha256(model))
    )
    if ranks.leads:
        _write(config, model.to("cpu"), report, directory, origin)
    return report


def _write(
    config: TrainConfig, model: CertifiedClassifier, report: Report, directory: Path, origin: Mapping[str, Any]
) -> None:
    write_atomically(directory / "report.json", report_text(report_values(report)).encode())
    write_atomically(directory / "points.csv", points_csv(report).encode())
    figures = measured(report, config, origin)
    require_unaltered(model)
    write_network(model, directory, {**_description(config, report), "measured": figures.model_dump()})


def _description(config: TrainConfig, report: Report) -> dict[str, Any]:
    """What the recipe says of the model, and where it is silent the architecture's idea; the weights are the user's."""
    return {
        "name": config.name,
        **_of_the_images(config, report),
        "architecture": config.model.description(),
        "eps_train": config.eps,
        "eps_grid": [result.eps for result in report.eps],
        **config.card.model_dump(mode="json"),
        **config.model.citation.on_card(),
        **config.card.model_dump(mode="json", exclude_none=True),
    }


def _of_the_images(config: TrainConfig, report: Report) -> dict[str, Any]:
    """The data set's name where its images have it; of others the names of their classes, where they have some.

    Where no digests tell the official images of a data set, its name is what the recipe says, if there are as many.
    """
    record = find_dataset(config.dataset)
    if record is not None and (report.dataset.name == record.name or _may_be_of(record, report)):
        return {"dataset": record.name}
    if record is not None:
        logger.warning("the test images are not those of %s: the card names no data set", record.name)
    names = () if report.data is None else report.data.classes
    return {"dataset": None, **({"class_names": names} if names else {})}


def _may_be_of(record: DataSet, report: Report) -> bool:
    """Whether nothing that is known of the test split speaks against it: ten classes of ImageNet are not ImageNet."""
    if record.test is None:
        return True
    counts = (report.dataset.n, report.dataset.of_classes)
    return not record.test.digests and counts == (record.test.images, record.num_classes)


def measured(report: Report, config: TrainConfig, origin: Mapping[str, Any]) -> Figures:
    """Figures on the test split after how the weights came about, and then what else they were obtained with."""
    return Figures(**origin, **report.figures().model_dump(), **_circumstances(config))


def _circumstances(config: TrainConfig) -> dict[str, Any]:
    return {
        "epochs": config.epochs,
        "seed": config.seed,
        "precision": "bfloat16" if config.bfloat16 else "float32",
        "hardware": _hardware(config.device),
        "torch": torch.__version__,
        "date": time.strftime("%Y-%m-%d"),
    }


def _hardware(device: str) -> str:
    if device != "cpu":
        return torch.cuda.get_device_name(device)
    return f"{platform.machine()} CPU, {torch.get_num_threads()} thread(s)"
