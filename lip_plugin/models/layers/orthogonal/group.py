"""Orthogonal matrices as a group of parameters: what training asks of them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from lip_plugin.models.groups import ParameterGroup, StepSettings
from lip_plugin.models.layers.orthogonal.manifold import ManifoldAdam
from lip_plugin.models.layers.orthogonal.polar import orthogonal_mean, polar


def orthogonal_group(name: str, parameters: Sequence[nn.Parameter], *, rate: float = 1.0) -> ParameterGroup:
    """Stacks (..., N, N) that Adam moves along the orthogonal group, at ``rate`` times the run's learning rate.

    NAdam where the run takes NAdam; no weight decay. Back onto the group at the end of every epoch.
    """

    def update(parameters: Sequence[nn.Parameter], settings: StepSettings) -> torch.optim.Optimizer:
        return ManifoldAdam(parameters, rate * settings.learning_rate, nesterov=settings.nesterov)

    return ParameterGroup(
        name,
        tuple(parameters),
        linear=False,
        update=update,
        retract=polar,
        retract_at="epoch",
        average=orthogonal_mean,
    )
