"""Random numbers that follow from (seed, epoch) alone, so that a resumed run needs no generator's history."""

from __future__ import annotations

from enum import IntEnum

import numpy as np
import torch


class Stream(IntEnum):
    """What the numbers are for. The values are part of what a seed means: never renumber them."""

    REAL_ORDER = 0
    REAL_AUGMENT = 1
    GENERATED_ORDER = 2
    GENERATED_AUGMENT = 3
    PICTURE = 4


def derived_seed(seed: int, stream: Stream, *numbers: int) -> int:
    """A 63-bit seed mixed from all of them by numpy's SeedSequence, whose algorithm is fixed (NEP 19)."""
    state = np.random.SeedSequence([seed, int(stream), *numbers]).generate_state(1, np.uint64)
    return int(state[0]) >> 1


def derived_generator(seed: int, stream: Stream, *numbers: int) -> torch.Generator:
    """A CPU generator: the draws are the same on every device."""
    return torch.Generator().manual_seed(derived_seed(seed, stream, *numbers))
