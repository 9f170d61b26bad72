"""What a training step costs: `train_step` itself in a dry run."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from lip_plugin.cost.dry_run import DryRun
from lip_plugin.cost.flops import Flops, sum_of
from lip_plugin.errors import ConfigError
from lip_plugin.train.config import TrainConfig
from lip_plugin.train.lookahead import STEPS
from lip_plugin.train.precision import with_settled_precision
from lip_plugin.train.state import TrainState, state_of
from lip_plugin.train.step import train_step
from lip_plugin.types import ImageShape


@dataclass(frozen=True)
class StepCost:
    """Of one process. A step of n images takes ``per_step`` and n times ``per_image``, in the mean of a few steps.

    ``per_step`` is what does not grow with the batch, and what several processes do not share: the estimate of the
    bound, matrices made orthogonal, the update, slow weights. What is done once an epoch is not counted. ``lasting``:
    bytes of weights and of what the optimiser keeps; ``peak``: bytes at the fullest moment of a step of ``batch``
    images, those and the images among them, but not what kernels need for themselves.
    """

    batch: int
    parameters: int
    per_image: Flops
    per_step: Flops
    lasting: int
    peak: int

    def flops(self, images: int) -> Flops:
        return sum_of(self.per_step, self.per_image, images)


def step_cost(config: TrainConfig, *, input_shape: ImageShape, num_classes: int, batch: int) -> StepCost:
    """Of one process that takes ``batch`` images a step, at least 2. Takes seconds to a minute, whatever the size.

    Raises ConfigError as the start of a training would.
    """
    if batch < 2:
        raise ConfigError(f"a batch of {batch} for each process; the cost is that of 2 images or more")
    config = with_settled_precision(config)
    with DryRun() as run:
        state = state_of(config, config.model.build(input_shape=input_shape, num_classes=num_classes))
        state.model.train()
        _step(run, config, state, 2)  # makes what later steps find
        few = _step(run, config, state, batch // 2)
        lasting = run.held
        steps = [_step(run, config, state, batch) for _ in range(STEPS if config.lookahead else 1)]
        parameters = sum(parameter.numel() for parameter in state.model.parameters())
    more, usual = batch - batch // 2, steps[0].flops
    per_image = Flops({dtype: each for dtype in usual if (each := (usual[dtype] - few.flops[dtype]) // more)})
    total = sum((step.flops for step in steps), Flops())
    mean = Flops({dtype: count // len(steps) for dtype, count in total.items()})
    per_step = sum_of(mean, per_image, -batch)
    return StepCost(batch, parameters, per_image, per_step, lasting, max(step.peak for step in steps))


@dataclass(frozen=True)
class _Counted:
    flops: Flops
    peak: int


def _step(run: DryRun, config: TrainConfig, state: TrainState, batch: int) -> _Counted:
    x, y = torch.rand(batch, *state.model.input_shape), torch.zeros(batch, dtype=torch.int64)
    run.restart()
    train_step(config, state, x, y, config.eps)
    state.optimiser.zero_grad()
    return _Counted(run.flops, run.peak)
