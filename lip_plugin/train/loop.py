"""A first EMMA training loop: eps ramp, warm-up and cosine, checkpoints per epoch, progress on stderr."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lip_plugin.data import ImageSet
from lip_plugin.errors import CheckpointError, ConfigError
from lip_plugin.losses import emma_loss
from lip_plugin.models import CertifiableModel, LiResNet, LiResNetPP
from lip_plugin.train.batches import shuffled_batches
from lip_plugin.train.checkpoint import load_checkpoint, save_checkpoint
from lip_plugin.train.config import ModelConfig, TrainConfig
from lip_plugin.train.estimates import EstimateState, pair_lipschitz_estimate
from lip_plugin.train.schedule import eps_at, learning_rate_at

logger = logging.getLogger(__name__)

OnStep = Callable[[int, str], None]
"""Called after every step with (images of the step, a note for the progress bar)."""


@dataclass
class TrainState:
    """Everything that a resumed run needs to go on as if it had not stopped."""

    model: CertifiableModel
    average: CertifiableModel
    optimiser: torch.optim.AdamW
    estimates: EstimateState
    generator: torch.Generator
    epoch: int = 0
    losses: list[float] = field(default_factory=list[float])
    seconds: float = 0.0

    def state_dict(self) -> dict[str, Any]:
        return {
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "estimates": self.estimates.state_dict(),
            "generator": self.generator.get_state(),
            "epoch": self.epoch,
            "losses": self.losses,
            "seconds": self.seconds,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        try:
            self.model.load_state_dict(state["model"])
            self.average.load_state_dict(state["average"])
            self.optimiser.load_state_dict(state["optimiser"])
            self.estimates.load_state_dict(state["estimates"])
            self.generator.set_state(state["generator"])
            self.epoch, self.losses, self.seconds = state["epoch"], state["losses"], state["seconds"]
        except (RuntimeError, KeyError, ValueError) as error:
            raise CheckpointError(f"the checkpoint is of another model: {str(error).splitlines()[0]}") from error


def build_model(config: ModelConfig, *, input_shape: tuple[int, int, int], num_classes: int) -> CertifiableModel:
    """The trainable model that a config describes, freshly initialised from torch's global generator."""
    sizes: dict[str, Any] = {
        "input_shape": input_shape,
        "num_classes": num_classes,
        "depth": config.depth,
        "width": config.width,
        "dense_width": config.dense_width,
    }
    if config.architecture == "liresnet":
        return LiResNet(**sizes)
    return LiResNetPP(**sizes, dense_depth=config.dense_depth, neck_patch=config.neck_patch)


def train(
    config: TrainConfig,
    data: ImageSet,
    *,
    run_dir: Path,
    resume: bool = False,
    on_step: OnStep | None = None,
    on_epoch: Callable[[TrainState], None] | None = None,
) -> CertifiableModel:
    """Train on ``data`` (uint8) and return the model, or its weight average where the config asks for one.

    A checkpoint is written to ``run_dir`` after every epoch; with ``resume`` the run goes on from it.
    Raises ConfigError on a non-finite loss; the last checkpoint stays.
    """
    state = _initial_state(config, data)
    if resume:
        saved = load_checkpoint(run_dir)
        if saved.get("config") != _decisive(config):
            raise CheckpointError(f"{run_dir} was started with another config; resume with the same settings")
        state.load_state_dict(saved)
        if on_step is not None:
            on_step(state.epoch * (len(data) // config.batch_size) * config.batch_size, "resumed")
    device = torch.device(config.device)
    images, labels = torch.from_numpy(data.pixels.copy()).to(device), torch.from_numpy(data.labels.copy()).to(device)
    while state.epoch < config.epochs:
        started = time.monotonic()
        _train_epoch(config, state, images, labels, on_step)
        state.epoch += 1
        state.seconds += time.monotonic() - started
        save_checkpoint(run_dir, {**state.state_dict(), "config": _decisive(config)})
        if on_epoch is not None:
            on_epoch(state)
    return state.average if config.weight_average else state.model


def _decisive(config: TrainConfig) -> dict[str, Any]:
    """The settings that decide what is trained; names, folders and the card may change between starts."""
    return config.model_dump(mode="json", exclude={"data_dir", "name", "card", "eps_grid"})


def _initial_state(config: TrainConfig, data: ImageSet) -> TrainState:
    if data.pixels.dtype != "uint8" or len(data) < config.batch_size:
        raise ConfigError(f"training needs uint8 images and at least one batch of {config.batch_size}, got {len(data)}")
    _, channels, height, width = data.pixels.shape
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        classes = int(data.labels.max()) + 1
        model = build_model(config.model, input_shape=(channels, height, width), num_classes=classes)
    model.to(config.device)
    optimiser = torch.optim.AdamW(model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
    generator = torch.Generator().manual_seed(config.seed)
    return TrainState(model, deepcopy(model), optimiser, EstimateState(), generator)


def _train_epoch(
    config: TrainConfig, state: TrainState, images: Tensor, labels: Tensor, on_step: OnStep | None
) -> None:
    steps = len(labels) // config.batch_size
    eps = eps_at(state.epoch, config.epochs, config.eps, config.eps_ramp)
    total = torch.zeros((), device=images.device)
    state.model.train()
    last_loss = state.losses[-1] if state.losses else math.nan
    note = f"epoch {state.epoch + 1}/{config.epochs} eps {eps:.3f} loss {last_loss:.3f}"
    batches = shuffled_batches(images, labels, config.batch_size, config.augment, state.generator)
    for index, (x, y) in enumerate(batches):
        step = state.epoch * steps + index
        _set_learning_rate(config, state.optimiser, step, steps * config.epochs)
        try:
            total += _step(config, state, x, y, eps)
        except torch.linalg.LinAlgError as error:  # pyright: ignore[reportPrivateImportUsage]
            # The Cholesky factorisation of non-finite or overflowing weights.
            raise ConfigError(f"the weights overflowed in epoch {state.epoch + 1}; lower learning_rate") from error
        if on_step is not None:
            on_step(config.batch_size, note)
    mean = float(total) / steps  # the host synchronises here, once per epoch
    if not math.isfinite(mean) or not all(bool(p.isfinite().all()) for p in state.model.parameters()):
        raise ConfigError(
            f"loss {mean} and weights of epoch {state.epoch + 1} must be finite; lower learning_rate "
            "(the last checkpoint is kept)"
        )
    state.losses.append(mean)
    logger.info("epoch %d/%d eps %.3f loss %.4f", state.epoch + 1, config.epochs, eps, mean)


def _step(config: TrainConfig, state: TrainState, x: Tensor, y: Tensor, eps: float) -> Tensor:
    x = x.contiguous(memory_format=torch.channels_last)
    with torch.autocast(x.device.type, dtype=torch.bfloat16, enabled=config.bfloat16):
        logits = state.model(x)
    pair_lipschitz = pair_lipschitz_estimate(state.model, state.estimates)
    loss = emma_loss(logits.float(), y, pair_lipschitz=pair_lipschitz, eps=eps)
    state.optimiser.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(state.model.parameters(), config.gradient_clip)
    state.optimiser.step()
    if config.weight_average:
        _update_average(state, config.weight_average)
    return loss.detach()


def _set_learning_rate(config: TrainConfig, optimiser: torch.optim.Optimizer, step: int, steps: int) -> None:
    rate = learning_rate_at(step, steps, config.learning_rate, math.ceil(config.warmup_fraction * steps))
    for group in optimiser.param_groups:
        group["lr"] = rate


@torch.no_grad()
def _update_average(state: TrainState, decay: float) -> None:
    """average <- decay * average + (1 - decay) * model, buffers included."""
    averages = [*state.average.parameters(), *state.average.buffers()]
    current = [*state.model.parameters(), *state.model.buffers()]
    torch._foreach_lerp_(averages, current, 1 - decay)  # pyright: ignore[reportPrivateUsage, reportPrivateImportUsage]
