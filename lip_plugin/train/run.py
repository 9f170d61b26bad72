"""A whole run: data in, model directory out. The test split is looked at once, at the end."""

from __future__ import annotations

import dataclasses
import json
import logging
import math
import platform
import time
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from lip_plugin.data import ImageSet, load_image_set
from lip_plugin.errors import ConfigError
from lip_plugin.evaluate import DatasetSummary, Report, certify_report
from lip_plugin.evaluate.results import summarise_model
from lip_plugin.files import CARD_FILE, REPORT_FILES, WEIGHTS_FILE, check_output_directory
from lip_plugin.models import CertifiableModel, freeze
from lip_plugin.network import CertifiedClassifier
from lip_plugin.network.storage import write_network
from lip_plugin.progress import progress_bar
from lip_plugin.ranks import Ranks, joined_ranks
from lip_plugin.report import report_document
from lip_plugin.report.points import points_csv
from lip_plugin.train.checkpoint import CHECKPOINT_FILE, load_checkpoint
from lip_plugin.train.config import TrainConfig
from lip_plugin.train.interrupt import stop_on_signals
from lip_plugin.train.loop import Hooks, train
from lip_plugin.train.metrics import METRICS_FILE, Metrics
from lip_plugin.train.precision import with_settled_precision
from lip_plugin.train.schedule import eps_at
from lip_plugin.train.state import TrainState
from lip_plugin.types import format_eps

logger = logging.getLogger(__name__)

_HELD_OUT_SEED = 1
_RUN_FILES = REPORT_FILES | {CARD_FILE, WEIGHTS_FILE, CHECKPOINT_FILE, METRICS_FILE, "config.yaml", "tensorboard"}
_DEFAULT_GRID = (36 / 255, 72 / 255, 108 / 255)


def run_training(
    config: TrainConfig,
    directory: Path,
    *,
    command: str = "",
    resume: bool = False,
    overwrite: bool = False,
    progress: bool = False,
) -> Report | None:
    """Train, freeze, certify the test split, and write the model directory.

    The directory holds the run's checkpoint and config from the start; ``card.json``, which makes it a
    model directory, is written last. Under torchrun every process trains its share, the first one writes
    and returns the report, the others return None. Raises ConfigError, DataError, CheckpointError,
    StoppedError.
    """
    if config.data_dir is None:
        raise ConfigError(f"data_dir is missing; add data_dir=DIR with the {config.dataset} files")
    training, held_out = split_held_out(load_image_set(config.dataset, "train", config.data_dir), config.held_out)
    test = load_image_set(config.dataset, "test", config.data_dir)
    with joined_ranks(config.device) as ranks:
        config = with_settled_precision(config)
        if ranks.leads:
            _prepare(config, directory, resume=resume, overwrite=overwrite)
        ranks.wait()
        model = _train(config, training, held_out, directory, ranks, resume=resume, progress=progress)
        if not ranks.leads:
            return None
    minutes = load_checkpoint(directory)["seconds"] / 60
    origin = {"command": command, "training_minutes": round(minutes, 1), "processes": ranks.world}
    return finish(config, freeze(model.to("cpu")), test, directory, origin=origin, progress=progress)


def _prepare(config: TrainConfig, directory: Path, *, resume: bool, overwrite: bool) -> None:
    if not resume:
        check_output_directory(directory, replaceable=_RUN_FILES if overwrite else frozenset())
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "config.yaml").write_text(yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False))


def _train(
    config: TrainConfig,
    training: ImageSet,
    held_out: ImageSet | None,
    directory: Path,
    ranks: Ranks,
    *,
    resume: bool,
    progress: bool,
) -> CertifiableModel:
    """The loop with signals collected; the first rank also shows progress and keeps metrics."""
    if not ranks.leads:
        with stop_on_signals() as stop:
            return train(config, training, run_dir=directory, resume=resume, hooks=Hooks(stop=stop, ranks=ranks))
    total = len(training) // config.batch_size * config.batch_size * config.epochs
    metrics = Metrics(directory, finished_epochs=load_checkpoint(directory)["epoch"] if resume else 0)
    with (
        stop_on_signals() as stop,
        progress_bar(f"train {config.name}", total=total, enabled=progress) as advance,
        closing(metrics),
    ):
        hooks = Hooks(advance, lambda state: _report_epoch(config, state, held_out, metrics), stop, ranks)
        return train(config, training, run_dir=directory, resume=resume, hooks=hooks)


def split_held_out(data: ImageSet, count: int) -> tuple[ImageSet, ImageSet | None]:
    """(training part, ``count`` images drawn once and for all), or everything and None for count 0."""
    if count == 0:
        return data, None
    if count >= len(data):
        raise ConfigError(f"held_out={count} leaves nothing to train on; {data.source} has {len(data)} images")
    order = np.random.default_rng(_HELD_OUT_SEED).permutation(len(data))
    parts = (np.sort(order[count:]), np.sort(order[:count]))
    training, held_out = (
        dataclasses.replace(data, pixels=data.pixels[part], labels=data.labels[part]) for part in parts
    )
    return training, held_out


def finish(
    config: TrainConfig,
    model: CertifiedClassifier,
    test: ImageSet,
    directory: Path,
    *,
    origin: Mapping[str, Any],
    progress: bool = False,
) -> Report:
    """Certify the test split with the sound bound and write weights, report and card.

    ``origin`` says how the weights came about and opens the card's measured figures.
    """
    grid = config.eps_grid or _DEFAULT_GRID
    x, y = test.tensors(model.dtype)
    report = certify_report(model, x, y, eps=grid, progress=progress).described(
        model=summarise_model(model, name=config.name, architecture=config.model.architecture),
        dataset=DatasetSummary(test.name, test.split, len(test), test.source),
    )
    (directory / "report.json").write_text(json.dumps(report_document(report), indent=1) + "\n", encoding="utf-8")
    (directory / "points.csv").write_text(points_csv(report), encoding="utf-8")
    figures = {**origin, **measured(report, config)}
    write_network(model, directory, {**_description(config, grid), "measured": figures})
    return report


def _description(config: TrainConfig, grid: tuple[float, ...]) -> dict[str, Any]:
    size = config.model
    return {
        "name": config.name,
        "dataset": config.dataset,
        "architecture": (
            f"{size.architecture} L{size.depth} W{size.width}, {size.dense_depth} dense of {size.dense_width}"
        ),
        "eps_train": config.eps,
        "eps_grid": list(grid),
        **config.card.model_dump(mode="json"),
    }


def measured(report: Report, config: TrainConfig) -> dict[str, Any]:
    """Figures in percent on the test split, and what they were obtained with."""
    return {
        "clean_accuracy": round(100 * report.clean_accuracy, 2),
        "verified_robust_accuracy": {
            format_eps(result.eps): round(100 * result.verified_robust_accuracy, 2) for result in report.eps
        },
        "images": report.dataset.n,
        "bound": report.lipschitz.method,
        "lipschitz_upper_bound": report.lipschitz.value,
        "arithmetic": report.arithmetic,
        "epochs": config.epochs,
        "seed": config.seed,
        "hardware": _hardware(config.device),
        "torch": torch.__version__,
        "date": time.strftime("%Y-%m-%d"),
    }


def _hardware(device: str) -> str:
    if device != "cpu":
        return torch.cuda.get_device_name(device)
    return f"{platform.machine()} CPU, {torch.get_num_threads()} thread(s)"


def _report_epoch(config: TrainConfig, state: TrainState, held_out: ImageSet | None, metrics: Metrics) -> None:
    """One row of metrics; on held-out images with the sound bound, at the training radius."""
    row: dict[str, float | None] = {
        "epoch": state.epoch,
        "eps": eps_at(state.epoch - 1, config.epochs, config.eps, config.eps_ramp),
        "learning_rate": state.optimiser.param_groups[0]["lr"],
        "loss": state.losses[-1],
        "seconds": state.seconds,
    }
    row["batch_clean_accuracy"], proved = state.accuracies[-1]
    row["batch_verified_robust_accuracy_estimate"] = None if math.isnan(proved) else proved
    if held_out is not None:
        model = freeze(state.result).to("cpu")
        x, y = held_out.tensors(model.dtype)
        report = certify_report(model, x, y, eps=config.eps)
        row["held_out_clean_accuracy"] = report.clean_accuracy
        row["held_out_verified_robust_accuracy"] = report.eps[0].verified_robust_accuracy
    metrics.add(row)
    logger.info("%s", _epoch_line(config, row))


def _epoch_line(config: TrainConfig, row: Mapping[str, float | None]) -> str:
    """One epoch in words. Batch figures are of augmented images and estimated constants."""
    parts = [f"loss {row['loss']:.4f}", f"batches: clean {100 * (row['batch_clean_accuracy'] or 0):.1f} %"]
    estimate = row["batch_verified_robust_accuracy_estimate"]
    if estimate is not None:
        parts.append(f"VRA at {format_eps(config.eps)} about {100 * estimate:.1f} % (estimate)")
    clean, proved = row.get("held_out_clean_accuracy"), row.get("held_out_verified_robust_accuracy")
    if clean is not None and proved is not None:
        parts.append(f"held out: clean {100 * clean:.1f} %, VRA {100 * proved:.1f} % (proved)")
    return f"epoch {row['epoch']}/{config.epochs}: {', '.join(parts)}; {(row['seconds'] or 0) / 60:.1f} min"
