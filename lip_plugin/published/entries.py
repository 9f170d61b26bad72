"""What a published state dict may hold at all: plain dense tensors that own what they show."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from lip_plugin.errors import CheckpointError
from lip_plugin.untrusted import printable

_HALF = {torch.float16, torch.bfloat16}
_PLAIN = (Tensor, nn.Parameter, nn.Buffer)


def check_entries(state_dict: Mapping[str, Tensor]) -> None:
    """Raise CheckpointError unless all entries are plain tensors of one dtype, float32 or float64.

    A checkpoint of a few bytes can describe a tensor of terabytes that repeats one number; whoever copies it
    allocates them. Such a tensor is refused.
    """
    if not isinstance(state_dict, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise CheckpointError(f"the state dict is a {type(state_dict).__name__}; expected tensors under names")
    for key, value in state_dict.items():
        reason = _oddity(key, value)
        if reason is not None:
            raise CheckpointError(f"entry '{printable(str(key), longest=80)}' of the state dict {reason}")
    dtypes = {value.dtype for value in state_dict.values()}
    if len(dtypes) == 1 and dtypes <= _HALF:
        (dtype,) = dtypes
        raise CheckpointError(
            f"the weights are {str(dtype).removeprefix('torch.')}; expected float32 or float64, the arithmetic that a "
            "certificate speaks of: pass {key: value.float() ...}, which changes no number (lip convert: --float32)"
        )
    if len(dtypes) != 1 or not dtypes <= {torch.float32, torch.float64}:
        raise CheckpointError(
            f"the state dict mixes dtypes {sorted(map(str, dtypes))}; expected float32 or float64 alone"
        )


def _oddity(key: object, value: object) -> str | None:
    if not isinstance(key, str) or not isinstance(value, Tensor):
        return f"is a {type(value).__name__} under a {type(key).__name__}; expected tensors under names"
    if type(value) not in _PLAIN or value.layout != torch.strided or value.is_quantized or value.device.type == "meta":
        return f"is no plain dense tensor ({type(value).__name__}, {value.layout}, {value.device.type})"
    if value.numel() * value.element_size() > value.untyped_storage().nbytes():
        return f"repeats its storage to shape {tuple(value.shape)}; expected a tensor that owns its entries"
    return None
