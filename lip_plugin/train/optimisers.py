"""Optimisers by name, over the parameter groups that a model declares."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

from lip_plugin.errors import ConfigError
from lip_plugin.models import CertifiableModel
from lip_plugin.models.groups import ParameterGroup, StepSettings, check_groups
from lip_plugin.train.config import TrainConfig
from lip_plugin.train.grouped import GroupedOptimiser
from lip_plugin.train.lookahead import Lookahead

_BASES: dict[str, type[torch.optim.Optimizer]] = {"adamw": torch.optim.AdamW, "nadam": torch.optim.NAdam}


def build_optimiser(config: TrainConfig, model: CertifiableModel) -> GroupedOptimiser:
    """AdamW or NAdam over the groups that bring no optimiser of their own, Lookahead around all of them where asked.

    Raises ConfigError for groups that do not cover the model, that nothing keeps on their set, or that weight
    averaging or Lookahead would move off it.
    """
    groups = model.parameter_groups()
    check_groups(groups, model)
    curved = [group.name for group in groups if not group.can_be_averaged]
    for wanted, name in ((config.lookahead, "lookahead"), (config.weight_average > 0, "weight_average")):
        if wanted and curved:
            raise ConfigError(
                f"{name} averages linearly, which breaks the parameter groups {curved}; switch it off, "
                "or give them average or retract"
            )
    grouped = GroupedOptimiser(list(_parts(config, groups)), groups, config.learning_rate)
    return Lookahead(grouped, groups) if config.lookahead else grouped


def _parts(config: TrainConfig, groups: Sequence[ParameterGroup]) -> Iterator[torch.optim.Optimizer]:
    """The run's optimiser for the groups that take it, then those that groups bring."""
    settings = StepSettings(config.learning_rate, config.weight_decay, nesterov=config.optimiser == "nadam")
    shared = [
        {"params": list(group.parameters), **({} if group.linear else {"weight_decay": 0.0})}
        for group in groups
        if group.update is None
    ]
    if shared:
        yield _BASES[config.optimiser](
            shared,
            lr=settings.learning_rate,  # pyright: ignore[reportCallIssue]
            weight_decay=settings.weight_decay,  # pyright: ignore[reportCallIssue]
        )
    for group in groups:
        if group.update is not None:
            yield _covering(group, group.update(group.parameters, settings))


def _covering(group: ParameterGroup, optimiser: torch.optim.Optimizer) -> torch.optim.Optimizer:
    """The optimiser that a group brings, if it steps exactly the parameters of the group."""
    stepped = sorted(id(value) for entry in optimiser.param_groups for value in entry["params"])
    if stepped != sorted(map(id, group.parameters)):
        raise ConfigError(f"the update of the parameter group {group.name!r} must step its parameters and no others")
    return optimiser
