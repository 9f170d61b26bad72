"""The conditions under which a certifying forward runs: float64, the certifier's own operators, nothing in between."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

import torch

from lip_plugin.certificates.program import PROGRAMS
from lip_plugin.errors import ConfigError, close_matches
from lip_plugin.network import foreign_surroundings

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
    """Autocast off, no gradients, no transform-domain convolution, new tensors on the CPU; the user's settings return.

    Every product inside is one of float64 numbers, which TF32 and the other float32 precisions do not touch, and the
    bounds hold for sums in any order, so that kernels need not be deterministic. Neither setting is changed here.
    Raises ConfigError under modes, transforms and global hooks that would replace what torch computes.
    """
    reason = foreign_surroundings()
    if reason is not None:
        raise ConfigError(f"this call {reason}, which can change what is computed; certify outside of it")
    with (
        torch.no_grad(),
        torch.autocast("cpu", enabled=False),
        torch.autocast("cuda", enabled=False),
        torch.device("cpu"),
        _without_cudnn(),
    ):
        yield


@contextmanager
def _without_cudnn() -> Generator[None]:
    """Not `torch.backends.cudnn.flags`: that sets every other flag as well, and fails on some values of theirs."""
    enabled = torch._C._get_cudnn_enabled()  # pyright: ignore[reportPrivateUsage]
    torch._C._set_cudnn_enabled(False)  # pyright: ignore[reportPrivateUsage]
    try:
        yield
    finally:
        torch._C._set_cudnn_enabled(enabled)  # pyright: ignore[reportPrivateUsage]
