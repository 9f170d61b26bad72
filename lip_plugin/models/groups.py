"""Parameters that are updated alike, and how an optimiser and averages keep them where they belong.

A group is linear where every combination of valid parameters is valid again. One that is not, such as a stack of
orthogonal matrices, says how it stays on its set: training counts its norm as what the set promises.

    ParameterGroup("rotations", (self.rotation,), linear=False, retract=polar)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn

from lip_plugin.errors import ConfigError


@dataclass(frozen=True)
class StepSettings:
    """What a run's config says of its steps."""

    learning_rate: float
    weight_decay: float
    nesterov: bool = False
    """The run's optimiser looks ahead: NAdam."""


Update: TypeAlias = Callable[[Sequence[nn.Parameter], StepSettings], torch.optim.Optimizer]
"""An optimiser over the parameters of one group; the schedule scales the learning rates that it starts with."""
Retract: TypeAlias = Callable[[Tensor], Tensor]
"""From a parameter near its set to the point that stands for it on the set."""
Average: TypeAlias = Callable[[Tensor, Tensor, float], Tensor]
"""(a, b, weight of b) -> what stands for (1 - weight) a + weight b on the set."""


@dataclass(frozen=True)
class ParameterGroup:
    """Parameters that are updated alike.

    ``update``: an optimiser of their own; without it they take the run's, with weight decay only where they are
    linear. ``retract``: applied to each of them after every step, and to averages; with ``retract_at="epoch"`` at the
    end of every epoch instead, for an ``update`` that stays near the set by itself. ``average``: how weight
    averaging and Lookahead combine two values; the mean, retracted, where it is None.
    """

    name: str
    parameters: tuple[nn.Parameter, ...]
    linear: bool = True
    update: Update | None = None
    retract: Retract | None = None
    retract_at: Literal["step", "epoch"] = "step"
    average: Average | None = None

    @property
    def can_be_averaged(self) -> bool:
        return self.linear or self.retract is not None or self.average is not None

    @torch.no_grad()
    def retract_(self, values: Sequence[Tensor]) -> None:
        """Put values of the parameters back onto their set, in place."""
        if self.retract is not None:
            for value in values:
                value.copy_(self.retract(value))

    @torch.no_grad()
    def average_(self, values: Sequence[Tensor], others: Sequence[Tensor], weight: float) -> None:
        """values <- (1 - weight) values + weight others, on the set, in place."""
        if self.average is None:
            lerp_(values, others, weight)
            self.retract_(values)
            return
        for value, other in zip(values, others, strict=True):
            value.copy_(self.average(value, other, weight))


def lerp_(values: Sequence[Tensor], others: Sequence[Tensor], weight: float) -> None:
    """values <- (1 - weight) values + weight others, in one call."""
    if values:
        torch._foreach_lerp_(list(values), list(others), weight)  # pyright: ignore[reportPrivateUsage, reportPrivateImportUsage]


def check_groups(groups: Sequence[ParameterGroup], model: nn.Module) -> None:
    """Raise ConfigError unless every parameter is in exactly one group and every group can be kept on its set."""
    kind, names = type(model).__name__, {id(value): name for name, value in model.named_parameters()}
    found = Counter(id(value) for group in groups for value in group.parameters)
    foreign = len(found.keys() - names.keys())
    strays = [f"{name} is in {found[key]} of them" for key, name in names.items() if found[key] != 1]
    if foreign:
        strays.append(f"{foreign} tensors are no parameters of the model")
    if strays:
        raise ConfigError(f"parameter_groups of {kind} must hold every parameter in one group: {strays[0]}")
    twice = [name for name, count in Counter(group.name for group in groups).items() if count > 1]
    if twice:
        raise ConfigError(f"parameter_groups of {kind} have two groups named {twice[0]!r}; give each its own name")
    for group in groups:
        kept = group.update is not None or (group.retract is not None and group.retract_at == "step")
        if not group.linear and not kept:
            raise ConfigError(
                f"the parameter group {group.name!r} of {kind} is not linear and nothing keeps it on its set; "
                "give retract (applied after every step) or update (an optimiser of its own)"
            )
