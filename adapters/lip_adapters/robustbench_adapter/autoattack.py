"""pyautoattack 0.2 under the two calls that RobustBench makes of the older `autoattack`."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Generator
from pathlib import Path

import pyautoattack
import torch
from pyautoattack import checks
from torch import Tensor, nn

from lip_plugin.errors import ConfigError


class AutoAttack:
    """AutoAttack as `robustbench.eval.benchmark` builds and runs it; the attacks are those of pyautoattack.

    Progress is printed and, with ``log_path``, appended to that file, as `autoattack` does.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        norm: str = "Linf",
        eps: float = 0.3,
        seed: int | None = None,
        version: str = "standard",
        device: str | torch.device = "cuda",
        log_path: str | Path | None = None,
    ) -> None:
        self.attack = pyautoattack.AutoAttack(model, norm=norm, eps=eps, seed=seed, version=version, device=device)  # pyright: ignore[reportArgumentType]  # literals
        self._log_path = log_path

    def run_standard_evaluation(
        self, x_orig: Tensor, y_orig: Tensor, bs: int = 250, *, state_path: Path | None = None
    ) -> Tensor:
        """(N, C, H, W) adversarial images, unchanged where no attack succeeded."""
        if state_path is not None:
            raise ConfigError(
                f"aa_state_path={str(state_path)!r}: with it, benchmark fails once the attack is done (RobustBench "
                "averages booleans) and cannot resume; leave it out, or use `lip compare`"
            )
        with _progress(self.attack.logger, self._log_path), _tracing_kept():
            adversarial, _ = self.attack.run_standard_evaluation(x_orig, y_orig, batch_size=bs)
        return adversarial


@contextlib.contextmanager
def _tracing_kept() -> Generator[None]:
    """pyautoattack unsets the trace function for good, and counts calls of earlier models against this one."""
    trace = sys.gettrace()
    for name in checks.funcs:
        checks.funcs[name] = 0
    try:
        yield
    finally:
        sys.settrace(trace)


@contextlib.contextmanager
def _progress(logger: logging.Logger, log_path: str | Path | None) -> Generator[None]:
    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stdout)]
    if log_path is not None:
        handlers.append(logging.FileHandler(log_path))
    level, propagate = logger.level, logger.propagate
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    for handler in handlers:
        logger.addHandler(handler)
    try:
        yield
    finally:
        for handler in handlers:
            logger.removeHandler(handler)
            if isinstance(handler, logging.FileHandler):
                handler.close()
        logger.setLevel(level)
        logger.propagate = propagate
