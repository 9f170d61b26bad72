"""Everything that a resumed run needs to go on as if it had not stopped."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from lip_plugin.errors import CheckpointError
from lip_plugin.models import CertifiableModel
from lip_plugin.train.compiling import compiled
from lip_plugin.train.config import TrainConfig
from lip_plugin.train.estimates import EstimateState
from lip_plugin.train.grouped import GroupedOptimiser
from lip_plugin.train.optimisers import build_optimiser
from lip_plugin.train.start import take_parameters


@dataclass
class TrainState:
    """Where a run stands: ``epoch`` epochs are complete, and ``step`` steps of the next one.

    The order of the data and every random draw follow from (seed, epoch, step), so there is no generator
    to save. ``sums`` (3,) are over the steps of the unfinished epoch and stay on the device: what `train_step`
    returns. ``losses`` and ``accuracies`` (clean, estimated VRA) are the means of the finished epochs.
    """

    model: CertifiableModel
    average: CertifiableModel | None
    optimiser: GroupedOptimiser
    estimates: EstimateState
    sums: Tensor
    forward: Callable[[Tensor], Tensor]
    epoch: int = 0
    step: int = 0
    losses: list[float] = field(default_factory=list[float])
    accuracies: list[tuple[float, float]] = field(default_factory=list[tuple[float, float]])
    seconds: float = 0.0

    @property
    def result(self) -> CertifiableModel:
        """The model to keep: the weight average where there is one."""
        return self.model if self.average is None else self.average

    def state_dict(self) -> dict[str, Any]:
        return {
            "model": self.model.state_dict(),
            "average": None if self.average is None else self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "estimates": self.estimates.state_dict(),
            "sums": self.sums,
            "epoch": self.epoch,
            "step": self.step,
            "losses": self.losses,
            "accuracies": self.accuracies,
            "seconds": self.seconds,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Raises CheckpointError where the checkpoint is of another model or optimiser."""
        try:
            self.model.load_state_dict(state["model"])
            if self.average is not None:
                self.average.load_state_dict(state["average"])
            self.optimiser.load_state_dict(state["optimiser"])
            device = self.sums.device  # checkpoints are read to the CPU
            self.estimates.load_state_dict({name: vector.to(device) for name, vector in state["estimates"].items()})
            self.sums = state["sums"].to(self.sums.device)
            self.epoch, self.step = state["epoch"], state["step"]
            self.losses, self.accuracies, self.seconds = state["losses"], state["accuracies"], state["seconds"]
        except (RuntimeError, KeyError, ValueError, TypeError, AttributeError) as error:
            raise CheckpointError(f"the checkpoint is of another model: {str(error).splitlines()[0]}") from error


def initial_state(config: TrainConfig, *, input_shape: tuple[int, int, int], num_classes: int) -> TrainState:
    """A fresh model on the config's device; the same for the same seed, whatever was drawn before.

    With the parameters of ``config.start`` where it names a model; raises as `take_parameters`.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        model = config.model.build(input_shape=input_shape, num_classes=num_classes)
    if config.start is not None:
        take_parameters(model, config.start)
    return state_of(config, model.to(config.device))


def state_of(config: TrainConfig, model: CertifiableModel) -> TrainState:
    """Before the first step of a model that is on the config's device."""
    for group in model.parameter_groups():
        group.retract_(group.parameters)
    optimiser = build_optimiser(config, model)
    average = deepcopy(model) if config.weight_average else None
    sums = torch.zeros(3, device=config.device)
    forward = compiled(model) if config.compile else model
    return TrainState(model, average, optimiser, EstimateState(), sums, forward)
