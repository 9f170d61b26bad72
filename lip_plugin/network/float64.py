"""The float64 program of a network: the same operators over exactly widened weights."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from lip_plugin.network.classifier import CertifiedClassifier


def float64_function(model: CertifiedClassifier) -> Callable[[Tensor], Tensor]:
    """(B, C, H, W) of any floating dtype -> (B, K) float64, differentiable; weights are widened once."""
    layers = [layer.map_tensors(torch.Tensor.double) for layer in model.layers]

    def logits(x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            v = x.double()
            for layer in layers:
                v = layer.apply(v)
            return v

    return logits


def float64_program(model: CertifiedClassifier) -> Callable[[Tensor], Tensor]:
    """`float64_logits` of one network, its weights widened once: for loops."""
    return torch.no_grad()(float64_function(model))


def float64_logits(model: CertifiedClassifier, x: Tensor) -> Tensor:
    """(B, C, H, W) of any floating dtype -> (B, K) float64, without gradient or autocast."""
    return float64_program(model)(x)
