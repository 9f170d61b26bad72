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


def inexact_float32(device: torch.device) -> str | None:
    """What takes the place of float32 sums of products on this device, and the line that ends it; None for nothing.

    For example ``takes convolutions in tf32; set torch.backends.cudnn.conv.fp32_precision = "ieee"``. Whatever this
    processor would make of a setting: settings travel, and results are compared elsewhere.
    """
    if device.type == "cpu" and _convolves_by_nnpack():
        return "convolves by NNPACK, in other sums; set torch.backends.nnpack.set_flags(False)"
    chosen = {"convolutions": _precision(device, "conv"), "products": _precision(device, "matmul")}
    return next(
        (f"takes {name} in {level}; set {exact}" for name, (level, exact) in chosen.items() if level != "ieee"), None
    )


def _convolves_by_nnpack() -> bool:
    """Its Winograd kernels do, for batches of 16 and more, where torch does without oneDNN."""
    nnpack, onednn = torch.backends.nnpack, torch.backends.mkldnn
    enabled = torch._C._get_nnpack_enabled()  # pyright: ignore[reportPrivateUsage]
    return enabled and nnpack.is_available() and not (onednn.enabled and onednn.is_available())


def _precision(device: torch.device, operation: str) -> tuple[str, str]:
    """("tf32", 'torch.backends.cudnn.conv.fp32_precision = "ieee"'): how float32 is taken, and what keeps it."""
    on_gpu = device.type == "cuda"
    read = getattr(torch._C, "_get_fp32_precision_getter", None)  # pyright: ignore[reportPrivateUsage]
    if read is None:  # torch before 2.9
        if operation == "conv":
            reduced, exact = on_gpu and torch.backends.cudnn.allow_tf32, "torch.backends.cudnn.allow_tf32 = False"
        else:
            reduced = torch.get_float32_matmul_precision() != "highest"
            exact = 'torch.set_float32_matmul_precision("highest")'
        return "tf32" if reduced else "ieee", exact
    backend = "cuda" if on_gpu else "mkldnn"
    levels = (read(backend, operation), read(backend, "all"), read("generic", "all"))
    name = "cudnn" if on_gpu and operation == "conv" else backend
    exact = f'torch.backends.{name}.{operation}.fp32_precision = "ieee"'
    return next((level for level in levels if level != "none"), "ieee"), exact
