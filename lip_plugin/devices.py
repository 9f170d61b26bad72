"""Devices by name, checked by using them."""

from __future__ import annotations

import torch

from lip_plugin.errors import ConfigError


def usable_device(name: str) -> torch.device:
    """The device, after a number was put there. Raises ConfigError with torch's reason where that fails."""
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ConfigError(f"device {name!r} cannot be used: {str(error).splitlines()[0]}") from error
    return device
