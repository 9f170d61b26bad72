"""One training step: no host synchronisation, nothing computed twice."""

from __future__ import annotations

import torch
from torch import Tensor

from lip_plugin.ranks import Ranks
from lip_plugin.train.averaging import update_average
from lip_plugin.train.config import TrainConfig
from lip_plugin.train.objective import OBJECTIVES, accuracy_estimates
from lip_plugin.train.state import TrainState


def train_step(
    config: TrainConfig, state: TrainState, x: Tensor, y: Tensor, eps: float, ranks: Ranks | None = None
) -> Tensor:
    """Forward, loss, backward, mean over ranks, clip, update.

    Returns (3,) on the device, of this rank's share of the batch: the loss, and the `accuracy_estimates` at
    the config's radius. The forward may run in bfloat16; the loss and the bound estimates are float32.
    """
    x = x.contiguous(memory_format=torch.channels_last)
    with torch.autocast(x.device.type, dtype=torch.bfloat16, enabled=config.bfloat16 is True):
        logits = state.forward(x)
    logits = logits.float()
    objective = OBJECTIVES[config.loss].with_settings(config.model_dump(include={"annealing"}))
    loss, pair = objective(state.model, state.estimates, logits, y, eps, temperature=config.temperature)
    state.optimiser.zero_grad()
    loss.backward()
    if ranks is not None:
        ranks.average_gradients(state.model)
    torch.nn.utils.clip_grad_norm_(state.model.parameters(), config.gradient_clip)
    state.optimiser.step()
    if state.average is not None:
        update_average(state.average, state.model, config.weight_average)
    return torch.cat([loss.detach()[None], accuracy_estimates(logits, y, pair, config.eps)])
