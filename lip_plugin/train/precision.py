"""Whether the forward runs in bfloat16: only where it is quicker, and it can be ten times slower."""

from __future__ import annotations

import timeit

import torch

from lip_plugin.train.config import TrainConfig

WORTH = 1.25
"""How much quicker bfloat16 products have to be: not everything in a step is a product."""


def with_settled_precision(config: TrainConfig) -> TrainConfig:
    """The same config with ``bfloat16`` true or false: "auto" becomes what the device is made for."""
    if config.bfloat16 != "auto":
        return config
    return config.model_copy(update={"bfloat16": computes_in_bfloat16(torch.device(config.device))})


def computes_in_bfloat16(device: torch.device) -> bool:
    """True where bfloat16 products are quicker: by the kind of GPU, and measured on a CPU.

    A CPU may have the instructions and be slower with them: those of AVX-512 take up to twice the time of float32.
    """
    if device.type == "cuda":
        return torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu" and WORTH * seconds_of_product(torch.bfloat16) < seconds_of_product(torch.float32)


def seconds_of_product(dtype: torch.dtype) -> float:
    """Of two matrices of 512 rows and columns on the CPU, the least of some tries."""
    matrix = torch.ones(512, 512, dtype=dtype, device="cpu")
    return min(timeit.repeat(lambda: matrix @ matrix, number=1, repeat=10))
