"""An evaluation from the command line: its model, its images, its radii, and the names that its report gets."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lip_plugin.cli.selection import select_images, select_model
from lip_plugin.data import LabelledImages
from lip_plugin.evaluate import Report
from lip_plugin.evaluate.results import summarise_model
from lip_plugin.network import CertifiedClassifier
from lip_plugin.ranks import Ranks
from lip_plugin.schema.report import Options
from lip_plugin.zoo import ModelCard


@dataclass(frozen=True)
class Task:
    """What a command is about."""

    model: CertifiedClassifier
    card: ModelCard
    images: LabelledImages
    eps: tuple[float, ...]


def select_task(options: Mapping[str, Any], ranks: Ranks, grid: Callable[[ModelCard], tuple[float, ...]]) -> Task:
    """From the options of `evaluation_options`; ``grid`` chooses the radii. Raises as loading does, ConfigError."""
    device: str | None = options["device"]
    if ranks.world > 1 and device is not None and device.startswith("cuda"):
        device = "cuda"  # each process its own
    model, card = select_model(options["name"], options["dataset"], device)
    images = select_images(card, options["data_dir"], options["data_file"], options["count"], options["workers"])
    return Task(model, card, images, grid(card))


def run_task(
    task: Task,
    evaluate: Callable[..., Report],
    options: Mapping[str, Any],
    settings: Mapping[str, Any],
    ranks: Ranks,
) -> Report:
    """``evaluate`` is `certify_images` or `compare_images`; ``settings`` are its own arguments. Raises as it does."""
    return evaluate(
        task.model,
        task.images,
        eps=task.eps,
        arithmetic=options["arithmetic"],
        batch_size=options["batch_size"],
        ranks=ranks,
        progress=not options["quiet"],
        **settings,
    )


def described_report(report: Any, task: Task, options: Mapping[str, Any]) -> Report:
    """With the card's names and what its command follows from."""
    card = task.card
    summary = summarise_model(task.model, name=card.name, architecture=card.architecture or "", sha256=card.sha256)
    named: str | None = options["name"]
    file: str | None = options["data_file"]
    given = Options(
        model_dir=named is not None and Path(named).is_dir(),
        dataset=options["dataset"],
        data=None if file is None else Path(file).name,
        data_dir=options["data_dir"] is not None,
        device=options["device"] or None,
    )
    described: Report = report.described(model=summary, options=given)
    return described
