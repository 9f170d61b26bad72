"""A whole run: data in, model directory out. The test split is looked at once, at the end."""

from __future__ import annotations

from contextlib import closing, nullcontext
from pathlib import Path

import yaml

from lip_plugin.evaluate import Report
from lip_plugin.files import CARD_FILE, REPORT_FILES, WEIGHTS_FILE, check_output_directory
from lip_plugin.models import CertifiableModel, freeze
from lip_plugin.progress import progress_bar
from lip_plugin.ranks import Ranks, joined_ranks
from lip_plugin.train.checkpoint import CHECKPOINT_FILE, load_checkpoint
from lip_plugin.train.config import TrainConfig
from lip_plugin.train.epochs import EpochReports
from lip_plugin.train.finish import finish
from lip_plugin.train.interrupt import stop_on_signals
from lip_plugin.train.loop import Hooks, check_resumable, train
from lip_plugin.train.metrics import METRICS_FILE, Metrics
from lip_plugin.train.mixing import generated_per_batch
from lip_plugin.train.precision import with_settled_precision
from lip_plugin.train.splits import Splits, load_splits

_RUN_FILES = REPORT_FILES | {CARD_FILE, WEIGHTS_FILE, CHECKPOINT_FILE, METRICS_FILE, "config.yaml", "tensorboard"}


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
    model directory, is written last. Under torchrun every process trains and certifies its share, the first
    one writes and returns the report, the others return None. Raises ConfigError, DataError,
    CheckpointError, StoppedError.
    """
    with joined_ranks(config.device) as ranks:
        splits = ranks.leader_first(lambda: load_splits(config))
        config = with_settled_precision(config)
        ranks.leader_first(lambda: _prepare(config, directory, ranks, resume=resume, overwrite=overwrite))
        model = _train(config, splits, directory, ranks, resume=resume, progress=progress)
        minutes = load_checkpoint(directory)["seconds"] / 60
        origin = {"command": command, "training_minutes": round(minutes, 1), "processes": ranks.world}
        network = freeze(model.to("cpu"))
        report = finish(config, network, splits.test, directory, origin=origin, ranks=ranks, progress=progress)
    return report if ranks.leads else None


def _prepare(config: TrainConfig, directory: Path, ranks: Ranks, *, resume: bool, overwrite: bool) -> None:
    if not ranks.leads:
        return
    if resume:
        check_resumable(config, load_checkpoint(directory), directory)
    else:
        check_output_directory(directory, replaceable=_RUN_FILES if overwrite else frozenset())
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "config.yaml").write_text(yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False))


def _train(
    config: TrainConfig, splits: Splits, directory: Path, ranks: Ranks, *, resume: bool, progress: bool
) -> CertifiableModel:
    """The loop with signals collected; the first rank also shows progress and keeps metrics."""
    generated = config.generated
    extra = 0 if generated is None else generated_per_batch(config.batch_size, generated.ratio)
    total = len(splits.training) // config.batch_size * (config.batch_size + extra) * config.epochs
    finished = load_checkpoint(directory)["epoch"] if resume else 0
    metrics = Metrics(directory, finished_epochs=finished) if ranks.leads else None
    with (
        stop_on_signals() as stop,
        progress_bar(f"train {config.name}", total=total, enabled=progress and ranks.leads) as advance,
        closing(metrics) if metrics is not None else nullcontext(),
    ):
        hooks = Hooks(advance, EpochReports(config, splits.held_out, ranks, metrics), stop, ranks)
        return train(config, splits.training, run_dir=directory, resume=resume, hooks=hooks)
