"""Undo what attack libraries leave behind in the process."""

from __future__ import annotations

import random
import sys
from collections.abc import Generator
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn


@contextmanager
def restored_state(seed: int, model: nn.Module) -> Generator[None]:
    """Seed every global generator inside; afterwards they, tracing, default dtype and training flags are as before."""
    python_state, numpy_state = random.getstate(), np.random.get_state()
    trace, default_dtype = sys.gettrace(), torch.get_default_dtype()
    training = {module: module.training for module in model.modules()}
    devices = (
        list(range(torch.cuda.device_count())) if torch.cuda.is_available() and torch.cuda.is_initialized() else []
    )
    with torch.random.fork_rng(devices=devices):
        random.seed(seed)
        np.random.seed(seed % 2**32)
        torch.manual_seed(seed)
        try:
            yield
        finally:
            random.setstate(python_state)
            np.random.set_state(numpy_state)
            torch.set_default_dtype(default_dtype)
            sys.settrace(trace)
            for module, flag in training.items():
                module.training = flag
