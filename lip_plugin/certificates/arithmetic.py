"""The conditions under which a certifying forward runs: float64, the certifier's own operators, nothing in between."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Literal

import torch

from lip_plugin.errors import ConfigError

Arithmetic = Literal["real", "float64", "float32"]
UNIT_ROUNDOFF = 2.0**-53


def require_arithmetic(arithmetic: str) -> Literal["real", "float64"]:
    """The two arithmetic models that are proved here. Raises ConfigError."""
    if arithmetic == "real" or arithmetic == "float64":
        return arithmetic
    if arithmetic == "float32":
        raise ConfigError("arithmetic 'float32' is not proved yet; use 'real' or 'float64'")
    raise ConfigError(f"arithmetic {arithmetic!r} is unknown; use 'real' or 'float64'")


@contextmanager
def certifying_arithmetic() -> Generator[None]:
    """Autocast off, no gradients, no reduced-precision or transform-domain convolution; the user's settings return."""
    with (
        torch.no_grad(),
        torch.autocast("cpu", enabled=False),
        torch.autocast("cuda", enabled=False),
        torch.backends.cudnn.flags(enabled=False),
    ):
        yield
