"""The conditions under which a certifying forward runs: float64, the certifier's own operators, nothing in between."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

import torch

from lip_plugin.certificates.program import PROGRAMS
from lip_plugin.errors import ConfigError, close_matches

UNIT_ROUNDOFF = 2.0**-53


def require_arithmetic(arithmetic: str) -> str:
    """The name, where it is one of `PROGRAMS`. Raises ConfigError."""
    if arithmetic not in PROGRAMS:
        known = ", ".join(map(repr, PROGRAMS))
        raise ConfigError(
            f"arithmetic {arithmetic!r} is unknown;{close_matches(arithmetic, PROGRAMS)} use one of {known}"
        )
    return arithmetic


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
