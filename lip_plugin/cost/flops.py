"""Floating-point operations by the dtype they are in, and how long they take at a stated speed."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from typing import TypeAlias

import torch

from lip_plugin.errors import ConfigError

Flops: TypeAlias = Counter[torch.dtype]
"""Two for a product and its sum, of real numbers."""
Speed: TypeAlias = Mapping[torch.dtype, float]
"""Of one process, in operations a second: what is achieved, not what a data sheet promises."""

_DTYPES = {"bfloat16": torch.bfloat16, "float32": torch.float32, "float64": torch.float64}


def sum_of(once: Flops, each: Flops, times: int) -> Flops:
    """``once + times * each``, without zeros."""
    return Counter({dtype: total for dtype in {*once, *each} if (total := once[dtype] + times * each[dtype])})


def dtype_name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def parse_speed(text: str) -> Speed:
    """``bfloat16=400e12,float32=25e12,float64=25e12``. Raises ConfigError."""
    speed: dict[torch.dtype, float] = {}
    for part in text.split(","):
        name, _, number = part.strip().partition("=")
        try:
            value = float(number)
        except ValueError:
            value = math.nan
        if name not in _DTYPES or not 0 < value < math.inf:
            raise ConfigError(
                f"--speed {part.strip()!r} is not DTYPE=N with one of {', '.join(_DTYPES)} and operations a second; "
                "give for example float32=50e9,float64=25e9"
            )
        speed[_DTYPES[name]] = value
    return speed


def seconds_estimate(flops: Flops, speed: Speed) -> float:
    """One process at this speed, were there nothing but the operations that are counted. Raises ConfigError."""
    missing = [dtype_name(dtype) for dtype in flops if dtype not in speed]
    if missing:
        raise ConfigError(f"--speed says nothing of {missing[0]}, which this computes in; give {missing[0]}=N too")
    return sum(count / speed[dtype] for dtype, count in flops.items())
