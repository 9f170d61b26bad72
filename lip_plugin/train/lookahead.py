"""Lookahead (Zhang et al., NeurIPS 2019, arXiv 1907.08610): slow weights that follow the fast ones every k steps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from torch import Tensor

from lip_plugin.models.groups import ParameterGroup
from lip_plugin.train.grouped import GroupedOptimiser

STEPS, _ALPHA = 6, 0.5


class Lookahead(GroupedOptimiser):
    """``inner``, and after every sixth step: fast <- slow <- half-way from slow to fast, on each group's set."""

    def __init__(self, inner: GroupedOptimiser, groups: Sequence[ParameterGroup]) -> None:
        super().__init__(inner.parts, groups, inner.learning_rate)
        self._slow = [[value.detach().clone() for value in group.parameters] for group in groups]
        self._set_counter(0)

    def _set_counter(self, count: int) -> None:
        for group in self.param_groups:  # saved with the inner optimisers
            group["counter"] = count

    def step(self) -> None:
        super().step()
        count = self.param_groups[0]["counter"] + 1
        self._set_counter(count % STEPS)
        if count < STEPS:
            return
        for group, slow in zip(self.groups, self._slow, strict=True):
            group.average_(group.parameters, slow, 1 - _ALPHA)
            for kept, value in zip(slow, group.parameters, strict=True):
                kept.copy_(value.detach())

    def _named(self) -> Iterator[tuple[tuple[int, int], Tensor]]:
        for index, slow in enumerate(self._slow):
            for position, value in enumerate(slow):
                yield (index, position), value

    def state_dict(self) -> dict[str, Any]:
        """As version 0.1.0 wrote it, whose Lookahead was that of pytorch-optimizer."""
        slow = {key: {"slow_params": value} for key, value in self._named()}
        return {"lookahead_state": slow, "base_optimizer": super().state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Raises KeyError, ValueError, RuntimeError where the state is of another model."""
        saved = state_dict["lookahead_state"]
        super().load_state_dict(state_dict["base_optimizer"])
        own = dict(self._named())
        if saved.keys() != own.keys():
            raise ValueError("the slow weights of Lookahead are of other parameters")
        for key, value in own.items():
            if saved[key]["slow_params"].shape != value.shape:
                raise ValueError("the slow weights of Lookahead have other shapes")
            value.copy_(saved[key]["slow_params"])
