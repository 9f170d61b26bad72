"""Whether the forward runs in bfloat16: only where the device computes in it, else it would be ten times slower."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from lip_plugin.train.config import TrainConfig


def with_settled_precision(config: TrainConfig) -> TrainConfig:
    """The same config with ``bfloat16`` true or false: "auto" becomes what the device is made for."""
    if config.bfloat16 != "auto":
        return config
    return config.model_copy(update={"bfloat16": computes_in_bfloat16(torch.device(config.device))})


def computes_in_bfloat16(device: torch.device) -> bool:
    """True where bfloat16 products are instructions of the device rather than emulated."""
    if device.type == "cuda":
        return torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)
    # Private in torch 2.6 to 2.15; where a name is gone the answer is float32, which is slower but right.
    questions: tuple[Callable[[], Any] | None, ...] = (
        getattr(torch.cpu, "_is_avx512_bf16_supported", None),
        getattr(torch.cpu, "_is_amx_tile_supported", None),
    )
    return device.type == "cpu" and any(bool(ask()) for ask in questions if ask is not None)
