"""The training loop: eps ramp, warm-up and cosine, checkpoints at epochs and on a stop request."""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from lip_plugin.errors import CheckpointError, ConfigError, StoppedError
from lip_plugin.models import CertifiableModel, freeze
from lip_plugin.network.limits import check_size
from lip_plugin.ranks import Ranks
from lip_plugin.train.batches import Batch, BatchSource
from lip_plugin.train.checkpoint import load_checkpoint, save_checkpoint
from lip_plugin.train.config import TrainConfig
from lip_plugin.train.former import completed
from lip_plugin.train.interrupt import StopRequest
from lip_plugin.train.precision import with_settled_precision
from lip_plugin.train.schedule import eps_at, learning_rate_at
from lip_plugin.train.sources import batch_source, class_count, image_shape
from lip_plugin.train.splits import TrainingData
from lip_plugin.train.state import TrainState, initial_state
from lip_plugin.train.step import train_step

_STEPS_BETWEEN_VOTES = 20
_INDIFFERENT: dict[str, bool | dict[str, bool]] = {
    **dict.fromkeys(("data_dir", "download", "name", "card", "eps_grid", "checkpoint_seconds"), True),
    "pictures": {"workers": True, "test_resize": True},
}
"""Settings that may change between the starts of a run: they decide nothing about the weights."""


@dataclass(frozen=True)
class Hooks:
    """What the caller wants to hear and say while the loop runs."""

    on_step: Callable[[int, str], None] = lambda images, note: None
    """(images of the step, a note for the progress bar)"""
    on_epoch: Callable[[TrainState], None] = lambda state: None
    stop: StopRequest = field(default_factory=StopRequest)
    ranks: Ranks = field(default_factory=Ranks)
    on_start: Callable[[], None] = lambda: None
    """Once model and data have been built, before the first checkpoint is written or read."""


def train(
    config: TrainConfig, data: TrainingData, *, run_dir: Path, resume: bool = False, hooks: Hooks | None = None
) -> CertifiableModel:
    """Train on ``data`` and return the model, or its weight average where the config asks for one.

    A checkpoint is written to ``run_dir`` at the start, after every epoch, every ``checkpoint_seconds`` and
    on a stop request; with ``resume`` the run goes on from it, bit for bit as if it had not stopped (CPU,
    same thread count). Raises ConfigError on a non-finite loss (the last good checkpoint stays),
    StoppedError on a stop request, CheckpointError.
    """
    hooks = Hooks() if hooks is None else hooks
    config = with_settled_precision(config)
    begun = config.model_copy(update={"start": None}) if resume else config  # the checkpoint holds what came of it
    state, source = hooks.ranks.together(lambda: _start(begun, data, hooks.ranks))
    hooks.on_start()
    if resume:
        _restore(config, state, run_dir)
        hooks.on_step((state.epoch * source.steps + state.step) * source.batch_size, "resumed")
    else:
        _save(config, state, run_dir, hooks.ranks)
    while state.epoch < config.epochs:
        batches = source.epoch(state.epoch, first_step=state.step)  # kept over pauses: workers decode ahead
        while not _run_until_pause(config, state, source, batches, hooks):
            _require_finite(state)
            _save(config, state, run_dir, hooks.ranks)
            if hooks.ranks.any(bool(hooks.stop)):
                raise _stopped(state, hooks.stop, run_dir)
        _require_finite(state)
        _close_epoch(state, source.steps, hooks.ranks)
        _save(config, state, run_dir, hooks.ranks)
        hooks.on_epoch(state)
        if hooks.ranks.any(bool(hooks.stop)):  # epochs may be shorter than the steps between votes
            raise _stopped(state, hooks.stop, run_dir)
    return state.result


def _save(config: TrainConfig, state: TrainState, run_dir: Path, ranks: Ranks) -> None:
    """The ranks hold the same state but for ``sums``, of which the mean is kept; the first one writes it."""
    saved = state.state_dict()
    if ranks.world > 1:
        saved["sums"] = torch.tensor([ranks.mean(total) for total in state.sums.tolist()])
    if ranks.leads:
        save_checkpoint(run_dir, {**saved, "config": decisive(config)})
    ranks.wait()


def decisive(config: TrainConfig) -> dict[str, Any]:
    """The settings that decide what is trained."""
    return config.model_dump(mode="json", exclude=_INDIFFERENT)


def _start(config: TrainConfig, data: TrainingData, ranks: Ranks) -> tuple[TrainState, BatchSource]:
    source = batch_source(config, data, ranks)
    state = initial_state(config, input_shape=image_shape(config, data), num_classes=class_count(data))
    network = freeze(state.model)
    check_size(network.layers, network.input_shape)  # what could not be stored at the end is refused at the start
    return state, source


def _restore(config: TrainConfig, state: TrainState, run_dir: Path) -> None:
    saved = load_checkpoint(run_dir)
    check_resumable(config, saved, run_dir)
    state.load_state_dict(saved)


def check_resumable(config: TrainConfig, saved: dict[str, Any], run_dir: Path) -> None:
    """Raises CheckpointError, naming the first setting that differs, unless the checkpoint is of this config."""
    was, now = saved.get("config"), decisive(with_settled_precision(config))
    before: dict[str, Any] = completed(was) if isinstance(was, dict) else {}
    changed = [key for key in {**before, **now} if key not in before or key not in now or before[key] != now[key]]
    if changed:
        key = changed[0]
        raise CheckpointError(
            f"{run_dir} was started with another config: {key} was {before.get(key)!r}, now {now.get(key)!r}; "
            "resume with the same settings"
        )


def _run_until_pause(
    config: TrainConfig, state: TrainState, source: BatchSource, batches: Iterator[Batch], hooks: Hooks
) -> bool:
    """Steps of the current epoch until its end, a stop request or the time of a checkpoint. True at its end."""
    started = time.monotonic()
    eps = eps_at(state.epoch, config.epochs, config.eps, config.eps_ramp)
    note = f"epoch {state.epoch + 1}/{config.epochs}{_last_figures(state)}"
    state.model.train()
    for x, y in batches:
        _set_learning_rate(config, state, source.steps)
        try:
            state.sums += train_step(config, state, x, y, eps, hooks.ranks)
        except torch.linalg.LinAlgError as error:  # pyright: ignore[reportPrivateImportUsage]
            # The Cholesky factorisation of non-finite or overflowing weights.
            raise ConfigError(f"the weights overflowed in epoch {state.epoch + 1}; lower learning_rate") from error
        state.step += 1
        hooks.on_step(source.batch_size, note)
        due = bool(hooks.stop) or time.monotonic() - started > config.checkpoint_seconds
        # Ranks agree on a pause now and then only: each vote makes them wait for one another.
        if (hooks.ranks.world == 1 or state.step % _STEPS_BETWEEN_VOTES == 0) and hooks.ranks.any(due):
            break
    state.seconds += time.monotonic() - started
    return state.step == source.steps


def _last_figures(state: TrainState) -> str:
    """What the epoch before came to, for the progress bar."""
    if not state.losses:
        return ""
    clean, proved = state.accuracies[-1]
    estimate = "" if math.isnan(proved) else f", VRA about {100 * proved:.1f} %"
    return f"; last one: loss {state.losses[-1]:.3f}, clean {100 * clean:.1f} %{estimate}"


def _require_finite(state: TrainState) -> None:
    """Before a checkpoint, so that a ruined run keeps its last good one. The host synchronises here."""
    weights = all(bool(parameter.isfinite().all()) for parameter in state.model.parameters())
    if not (weights and math.isfinite(float(state.sums[0]))):
        raise ConfigError(
            f"loss and weights must stay finite, they did not in epoch {state.epoch + 1} before step {state.step}; "
            "lower learning_rate (the last good checkpoint is kept)"
        )


def _close_epoch(state: TrainState, steps: int, ranks: Ranks) -> None:
    loss, clean, proved = (ranks.mean(total) / steps for total in state.sums.tolist())
    state.losses.append(loss)
    state.accuracies.append((clean, proved))
    state.sums = torch.zeros_like(state.sums)
    state.optimiser.end_epoch()
    for module in (state.model, state.average):
        if module is not None:
            ranks.take_from_leader(module)  # kernels of GPUs may round apart; what is evaluated together is one model
    state.epoch, state.step = state.epoch + 1, 0


def _set_learning_rate(config: TrainConfig, state: TrainState, steps: int) -> None:
    total = steps * config.epochs
    warmup = math.ceil(config.warmup_fraction * total)
    rate = learning_rate_at(state.epoch * steps + state.step, total, config.learning_rate, warmup)
    state.optimiser.set_learning_rate(rate)


def _stopped(state: TrainState, stop: StopRequest, run_dir: Path) -> StoppedError:
    received = stop.received or signal.SIGTERM  # another rank's signal
    return StoppedError(
        f"stopped by {received.name} in epoch {state.epoch + 1} after {state.step} steps; "
        f"saved in {run_dir}, go on with --resume",
        int(received),
    )
