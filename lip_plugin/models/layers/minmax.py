"""MinMax as a trainable network's layer."""

from __future__ import annotations

from torch import Tensor, nn

from lip_plugin.errors import ConfigError
from lip_plugin.network import minmax


def require_even(**widths: int) -> None:
    """Raise ConfigError where a width that a MinMax acts on is not a positive even number."""
    for name, width in widths.items():
        if width < 2 or width % 2:
            raise ConfigError(f"{name} must be even and at least 2 (MinMax sorts pairs of channels), got {width}")


class MinMax(nn.Module):
    """MinMax over channels (dimension 1); the number of channels must be even."""

    def forward(self, x: Tensor) -> Tensor:
        return minmax(x)
