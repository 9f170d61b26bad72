"""Optimisers by name, over the parameter groups that a model declares."""

from __future__ import annotations

import importlib
from typing import Any, Protocol, cast

import torch

from lip_plugin.errors import ConfigError, MissingDependencyError
from lip_plugin.models import CertifiableModel
from lip_plugin.train.config import TrainConfig

_LOOKAHEAD_STEPS, _LOOKAHEAD_ALPHA = 6, 0.5
_BASES: dict[str, type[torch.optim.Optimizer]] = {"adamw": torch.optim.AdamW, "nadam": torch.optim.NAdam}


class Optimiser(Protocol):
    """What the loop needs: a torch optimiser, or Lookahead around one."""

    @property
    def param_groups(self) -> list[dict[str, Any]]: ...
    def zero_grad(self, set_to_none: bool = True) -> None: ...
    def step(self) -> Any: ...
    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state_dict: dict[str, Any]) -> None: ...


def build_optimiser(config: TrainConfig, model: CertifiableModel) -> Optimiser:
    """AdamW or NAdam, with Lookahead around it where the config asks for it (k = 6, alpha = 0.5).

    Raises ConfigError where weight averaging or Lookahead would move parameters off their manifold,
    MissingDependencyError (extra ``train``) for Lookahead without its library.
    """
    groups = model.parameter_groups()
    curved = [group.name for group in groups if not group.linear]
    for wanted, name in ((config.lookahead, "lookahead"), (config.weight_average > 0, "weight_average")):
        if wanted and curved:
            raise ConfigError(f"{name} averages linearly, which breaks the parameter groups {curved}; switch it off")
    base = _BASES[config.optimiser](
        [{"params": list(group.parameters)} for group in groups],
        lr=config.learning_rate,  # pyright: ignore[reportCallIssue]
        weight_decay=config.weight_decay,  # pyright: ignore[reportCallIssue]
    )
    return _lookahead(base) if config.lookahead else cast("Optimiser", base)


def _lookahead(base: torch.optim.Optimizer) -> Optimiser:
    """Zhang et al., NeurIPS 2019 (arXiv 1907.08610), from the library pytorch-optimizer."""
    try:
        library = importlib.import_module("pytorch_optimizer")
    except ImportError as error:
        raise MissingDependencyError(
            f"lookahead needs pytorch-optimizer ({error}); install it with: pip install 'lip-plugin[train]'"
        ) from error
    optimiser: Optimiser = library.Lookahead(base, k=_LOOKAHEAD_STEPS, alpha=_LOOKAHEAD_ALPHA)
    return optimiser
