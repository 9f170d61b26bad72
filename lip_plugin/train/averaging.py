"""The running average of a model's weights."""

from __future__ import annotations

import torch

from lip_plugin.models import CertifiableModel
from lip_plugin.models.groups import lerp_


@torch.no_grad()
def update_average(average: CertifiableModel, model: CertifiableModel, decay: float) -> None:
    """average <- decay * average + (1 - decay) * model, each group on its set. Counters among buffers are copied."""
    for kept, current in zip(average.parameter_groups(), model.parameter_groups(), strict=True):
        kept.average_(kept.parameters, current.parameters, 1 - decay)
    pairs = list(zip(average.buffers(), model.buffers(), strict=True))
    real = [pair for pair in pairs if pair[0].is_floating_point()]
    lerp_([kept for kept, _ in real], [current for _, current in real], 1 - decay)
    for kept, current in pairs:
        if not kept.is_floating_point():
            kept.copy_(current)
