"""Batch normalisation with running statistics: (x - mean) * scale + shift, one of each per channel.

Three steps rather than two: mean and shift stay the module's own numbers, and only the scale is rounded.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lip_plugin.errors import UnsupportedLayerError
from lip_plugin.network import Offset, Operator, Scale
from lip_plugin.wrapping.registry import rule
from lip_plugin.wrapping.traced import Traced


@rule("batch_norm")
def _batch_norm(
    input: Traced,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Traced:
    if training or running_mean is None or running_var is None:
        raise UnsupportedLayerError(
            "normalises by the statistics of the batch, without running statistics; an image's logits would depend on "
            "the others: train with track_running_stats=True"
        )
    mean, variance = running_mean.detach(), running_var.detach()
    gain = torch.ones_like(mean) if weight is None else input.session.held(weight)
    scale = gain.double() / (variance.double() + eps).sqrt()
    layers: list[Operator] = [Offset(-mean), Scale(scale.to(mean.dtype))]
    if bias is not None:
        layers.append(Offset(input.session.held(bias)))
    return input.then(*layers)
