"""What around a call would make torch compute something else than what is written there."""

from __future__ import annotations

import torch
from torch import nn
from torch._C._dynamo.eval_frame import get_eval_frame_callback
from torch.overrides import _get_current_function_mode_stack  # pyright: ignore[reportPrivateUsage]
from torch.utils._device import DeviceContext
from torch.utils._python_dispatch import _get_current_dispatch_mode_stack  # pyright: ignore[reportPrivateUsage]

_GLOBAL_HOOKS = (
    "_global_forward_hooks",
    "_global_forward_pre_hooks",
    "_global_backward_hooks",
    "_global_backward_pre_hooks",
    "_global_buffer_registration_hooks",
)


def foreign_surroundings() -> str | None:
    """``runs under ...``: hooks, modes and transforms that stand between a call and torch; None where there are none.

    A default device (`torch.set_default_device`, ``with torch.device(...)``) is a mode too, but only says where new
    tensors are made; the certifier names its devices.
    """
    if any(getattr(nn.modules.module, hooks, None) for hooks in _GLOBAL_HOOKS):
        return "runs under global module hooks"
    modes = [*_get_current_function_mode_stack(), *_get_current_dispatch_mode_stack()]
    foreign = [type(mode).__name__ for mode in modes if type(mode) is not DeviceContext]
    if foreign:
        return f"runs under the torch mode {foreign[-1]}"
    if torch._C._functorch.peek_interpreter_stack() is not None:  # pyright: ignore[reportPrivateUsage, reportAttributeAccessIssue]
        return "runs inside a transform of torch.func"
    # The first is true while a frame is traced, the second while what was not traced runs between compiled parts.
    if torch.compiler.is_compiling() or callable(get_eval_frame_callback()):
        return "runs inside torch.compile"
    return "runs inside torch.jit.trace" if torch.jit.is_tracing() else None  # pyright: ignore[reportPrivateImportUsage]


def reduced_precision(device: torch.device) -> str | None:
    """``takes convolutions in tf32``: what the process has torch do to float32 numbers there; None where it is nothing.

    Whatever this processor would make of it: settings travel, and results are compared elsewhere.
    """
    if device.type == "cpu" and not torch.backends.mkldnn.enabled and _nnpack_enabled():
        return "takes convolutions by NNPACK, without oneDNN (not by sums of products: Winograd)"
    chosen = {"convolutions": _precision(device, "conv"), "products": _precision(device, "matmul")}
    return next((f"takes {name} in {precision}" for name, precision in chosen.items() if precision != "ieee"), None)


def _nnpack_enabled() -> bool:
    read = getattr(torch._C, "_get_nnpack_enabled", None)  # pyright: ignore[reportPrivateUsage]
    return torch.backends.nnpack.is_available() and (read is None or bool(read()))


def _precision(device: torch.device, operation: str) -> str:
    on_gpu = device.type == "cuda"
    read = getattr(torch._C, "_get_fp32_precision_getter", None)  # pyright: ignore[reportPrivateUsage]
    if read is None:  # torch before 2.9
        products = torch.get_float32_matmul_precision() != "highest"
        reduced = products if operation == "matmul" else on_gpu and torch.backends.cudnn.allow_tf32
        return "tf32" if reduced else "ieee"
    backend = "cuda" if on_gpu else "mkldnn"
    levels = (read(backend, operation), read(backend, "all"), read("generic", "all"))
    return next((level for level in levels if level != "none"), "ieee")
