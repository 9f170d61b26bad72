"""One optimiser over parameter groups of which each may bring its own, with parameters put back onto their sets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch

from lip_plugin.models.groups import ParameterGroup


class GroupedOptimiser:
    """``parts`` step one after the other, then groups are retracted: after every step or epoch, as they say."""

    def __init__(
        self, parts: Sequence[torch.optim.Optimizer], groups: Sequence[ParameterGroup], learning_rate: float
    ) -> None:
        self.parts, self.groups, self.learning_rate = list(parts), list(groups), learning_rate
        self._shares = [group["lr"] / learning_rate for group in self.param_groups]

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """Those of the parts, in their order."""
        return [group for part in self.parts for group in part.param_groups]

    def set_learning_rate(self, rate: float) -> None:
        """Each group keeps its ratio to the run's learning rate."""
        self.learning_rate = rate
        for group, share in zip(self.param_groups, self._shares, strict=True):
            group["lr"] = rate * share

    def zero_grad(self) -> None:
        for part in self.parts:
            part.zero_grad(set_to_none=True)

    def step(self) -> None:
        for part in self.parts:
            part.step()
        self._retract("step")

    def end_epoch(self) -> None:
        """After the last step of an epoch."""
        self._retract("epoch")

    def _retract(self, due: Literal["step", "epoch"]) -> None:
        for group in self.groups:
            if group.retract_at == due:
                group.retract_(group.parameters)

    def state_dict(self) -> dict[str, Any]:
        """That of the only part, as version 0.1.0 wrote it, or a list of them."""
        states = [part.state_dict() for part in self.parts]
        return states[0] if len(states) == 1 else {"parts": states}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Raises KeyError, ValueError, RuntimeError where the state is of another model."""
        states = [state_dict] if len(self.parts) == 1 else state_dict["parts"]
        for part, state in zip(self.parts, states, strict=True):
            part.load_state_dict(state)
