"""Plain tensors: those that are nothing but their numbers."""

from __future__ import annotations

import torch
from torch import Tensor, nn

_PLAIN = (Tensor, nn.Parameter, nn.Buffer)


def tensor_flaw(value: Tensor) -> str | None:
    """What keeps a tensor from being a dense block of numbers that torch's own kernels compute with; None if nothing.

    A subclass can redefine every operation (`__torch_function__`), or hold only a part of the numbers.
    """
    if type(value) not in _PLAIN:
        return f"of the foreign tensor type {type(value).__name__}"
    if value.is_nested or value.layout != torch.strided:
        return f"stored as {'a nested tensor' if value.is_nested else value.layout}"
    return "on the meta device, without numbers" if value.device.type == "meta" else None
