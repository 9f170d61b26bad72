"""A whole run: data in, model directory out. The test split is looked at once, at the end."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import yaml

from lip_plugin.devices import usable_device
from lip_plugin.errors import ConfigError
from lip_plugin.evaluate import Report
from lip_plugin.files import (
    CARD_FILE,
    REPORT_FILES,
    TRAINABLE_FILE,
    WEIGHTS_FILE,
    check_output_directory,
    partial_name,
    require_writable,
    write_atomically,
)
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
from lip_plugin.train.start import in_words, trainable_content

_MODEL_FILES = {CARD_FILE, WEIGHTS_FILE, TRAINABLE_FILE}
_RUN_FILES = REPORT_FILES | _MODEL_FILES | {CHECKPOINT_FILE, METRICS_FILE, "config.yaml", "tensorboard"}
_PARTIAL_FILES = frozenset(map(partial_name, _RUN_FILES))
"""Of a run that was killed while it wrote one."""


def run_training(
    asked: TrainConfig,
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
    with joined_ranks(asked.device) as ranks:
        if ranks.world > 1 and asked.device.startswith("cuda"):
            asked = asked.model_copy(update={"device": "cuda"})  # each process its own
        config = ranks.together(lambda: _checked(asked, directory, ranks, resume=resume, overwrite=overwrite))
        splits = ranks.leader_first(lambda: load_splits(config))
        model = _train(config, splits, directory, ranks, resume=resume, progress=progress)
        # The first rank alone writes, perhaps to a disk of its own.
        seconds = ranks.together(lambda: load_checkpoint(directory)["seconds"] if ranks.leads else 0.0)
        origin = {"command": command, "training_minutes": round(seconds / 60, 1), "processes": ranks.world}
        origin |= {} if config.start is None else {"started_from": in_words(config.start)}
        network = freeze(model.to("cpu"))
        if ranks.leads:
            write_atomically(directory / TRAINABLE_FILE, trainable_content(model))
        report = finish(config, network, splits.test, directory, origin=origin, ranks=ranks, progress=progress)
    return report if ranks.leads else None


def _checked(config: TrainConfig, directory: Path, ranks: Ranks, *, resume: bool, overwrite: bool) -> TrainConfig:
    """The settled config, after a look at all that can be refused before the data are read."""
    if usable_device(config.device).type not in ("cpu", "cuda"):
        raise ConfigError(f"device {config.device!r} cannot certify what it trains; expected cpu or cuda")
    config = with_settled_precision(config)
    if resume:
        check_resumable(config, load_checkpoint(directory), directory)
    if ranks.leads:
        require_writable(directory)
    if ranks.leads and not resume:
        check_output_directory(directory, replaceable=_RUN_FILES | _PARTIAL_FILES if overwrite else frozenset())
    return config


def _train(
    config: TrainConfig, splits: Splits, directory: Path, ranks: Ranks, *, resume: bool, progress: bool
) -> CertifiableModel:
    """The loop with signals collected; the first rank also shows progress, keeps metrics and writes the config."""
    generated = config.generated
    extra = 0 if generated is None else generated_per_batch(config.batch_size, generated.ratio)
    total = len(splits.training) // config.batch_size * (config.batch_size + extra) * config.epochs
    reports = EpochReports(config, splits.held_out, ranks)

    def begin() -> None:
        """The model and its data fit together: from here on files appear."""
        if ranks.leads:
            finished = load_checkpoint(directory)["epoch"] if resume else 0
            directory.mkdir(parents=True, exist_ok=True)
            for name in () if resume else (*_MODEL_FILES, *REPORT_FILES, *_PARTIAL_FILES):
                (directory / name).unlink(missing_ok=True)  # else an older run's, beside this one's
            text = yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)
            (directory / "config.yaml").write_text(text, encoding="utf-8")
            reports.metrics = Metrics(directory, finished_epochs=finished)

    with (
        stop_on_signals() as stop,
        progress_bar(f"train {config.name}", total=total, enabled=progress and ranks.leads) as advance,
        closing(reports),
    ):
        hooks = Hooks(advance, reports, stop, ranks, begin)
        return train(config, splits.training, run_dir=directory, resume=resume, hooks=hooks)
