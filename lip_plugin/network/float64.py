"""The float64 program of a network: the same operators over exactly widened weights."""

from __future__ import annotations

import torch
from torch import Tensor

from lip_plugin.network.classifier import CertifiedClassifier


def float64_logits(model: CertifiedClassifier, x: Tensor) -> Tensor:
    """(B, C, H, W) of any floating dtype -> (B, K) float64, without gradient or autocast."""
    with torch.no_grad(), torch.autocast(x.device.type, enabled=False):
        v = x.double()
        for layer in model.layers:
            v = layer.map_tensors(torch.Tensor.double).apply(v)
        return v
