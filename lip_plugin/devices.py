"""Devices by name, checked by using them."""

from __future__ import annotations

import torch

from lip_plugin.errors import ConfigError


def keep_float32(device: torch.device) -> None:
    """For a process of ours: convolutions of a GPU in float32 as such, not in TF32, which torch takes by default.

    What ``model(x)`` returns is certified as float32; a library leaves this setting of the process to its user.
    """
    if device.type == "cuda":
        torch.backends.cudnn.allow_tf32 = False


def usable_device(name: str) -> torch.device:
    """The device, after a number was put there. Raises ConfigError with torch's reason where that fails."""
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(f"device {name!r} cannot be used: {str(error).splitlines()[0]}") from error
    return device
