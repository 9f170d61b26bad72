"""The conditions under which a certifying forward runs: float64, the certifier's own operators, nothing in between."""

from __future__ import annotations

import threading
from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch

from lip_plugin.bounds.rounding import require_ieee_arithmetic
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

    Every product that decides is one of float64 numbers, which TF32 and the other float32 precisions do not touch, and
    the bounds hold for sums in any order, so that kernels need not be deterministic. Neither setting is changed here.
    Raises ConfigError under modes, transforms and global hooks that would replace what torch computes, and where
    settings of the process that a proof rests on are changed meanwhile.
    """
    require_own_surroundings()
    with (
        torch.no_grad(),
        torch.autocast("cpu", enabled=False),
        torch.autocast("cuda", enabled=False),
        _new_tensors_on_cpu(),
        _cudnn_off.held(),
    ):
        require_ieee_arithmetic()
        yield
        require_ieee_arithmetic()


def _new_tensors_on_cpu() -> AbstractContextManager[object]:
    """The default device where it is another: the mode costs more than the small operators of one image do."""
    return nullcontext() if torch.get_default_device() == torch.device("cpu") else torch.device("cpu")


def require_own_surroundings() -> None:
    """Raises ConfigError under modes, transforms and global hooks that would replace what torch computes."""
    reason = foreign_surroundings()
    if reason is not None:
        raise ConfigError(f"this call {reason}, which can change what is computed; certify outside of it")


class _CudnnOff:
    """cuDNN off in the whole process, for as long as any thread needs that; then as it was before the first.

    Not `torch.backends.cudnn.flags`: that sets every other flag as well, fails on some values of theirs, and threads
    that overlap leave the wrong value behind.
    """

    def __init__(self) -> None:
        self._lock, self._holders, self._before = threading.Lock(), 0, False

    @contextmanager
    def held(self) -> Generator[None]:
        """Raises ConfigError where somebody switches it on before the block ends."""
        with self._lock:
            if self._holders == 0:
                self._before = torch._C._get_cudnn_enabled()  # pyright: ignore[reportPrivateUsage]
                torch._C._set_cudnn_enabled(False)  # pyright: ignore[reportPrivateUsage]
            self._holders += 1
        try:
            yield
            if torch._C._get_cudnn_enabled():  # pyright: ignore[reportPrivateUsage]
                raise ConfigError(
                    "torch.backends.cudnn.enabled was switched on during a proof; leave it alone meanwhile"
                )
        finally:
            with self._lock:
                self._holders -= 1
                if self._holders == 0:
                    torch._C._set_cudnn_enabled(self._before)  # pyright: ignore[reportPrivateUsage]


_cudnn_off = _CudnnOff()
