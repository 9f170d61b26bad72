"""Which pixel an output reads through a tap, along one axis, as a 0/1 tensor."""

from __future__ import annotations

import torch
from torch import Tensor

from lip_plugin.bounds.geometry import Axis


def selection(axis: Axis, circular: bool = False) -> Tensor:
    """0/1 float64 tensor (taps, outputs, size): 1 where an output reads a pixel through a tap."""
    reads = torch.zeros(axis.taps, axis.outputs, axis.size, dtype=torch.float64, device="cpu")
    for tap in range(axis.taps):
        for output in range(axis.outputs):
            pixel = axis.pixel(output, tap)
            if circular or 0 <= pixel < axis.size:
                reads[tap, output, pixel % axis.size] = 1.0
    return reads
