"""Closed forms of the run: radius and learning rate."""

from __future__ import annotations

import math


def eps_at(epoch: float, epochs: int, eps: float, ramp: tuple[float, float]) -> float:
    """eps * (a + (b - a) min(2 e / E, 1)): from a to b times eps over the first half (NeurIPS 2023 code)."""
    start, end = ramp
    return eps * (start + (end - start) * min(2 * epoch / epochs, 1.0))


def learning_rate_at(step: int, steps: int, peak: float, warmup_steps: int) -> float:
    """Linear warm-up to the peak, then a cosine to zero."""
    if step < warmup_steps:
        return peak * (step + 1) / warmup_steps
    return 0.5 * peak * (1 + math.cos(math.pi * (step - warmup_steps) / max(1, steps - warmup_steps)))
