"""Which pixel an output reads through a tap, along one axis, as a 0/1 tensor."""

from __future__ import annotations

import torch
from torch import Tensor

from lip_plugin.bounds.geometry import Axis


def selection(axis: Axis, mode: str = "zeros") -> Tensor:
    """0/1 float64 tensor (taps, outputs, size): 1 where an output reads a pixel through a tap; ``mode`` pads."""
    reads = torch.zeros(axis.taps, axis.outputs, axis.size, dtype=torch.float64, device="cpu")
    for tap in range(axis.taps):
        for output in range(axis.outputs):
            pixel = axis.source(axis.pixel(output, tap), mode)
            if pixel is not None:
                reads[tap, output, pixel] = 1.0
    return reads
