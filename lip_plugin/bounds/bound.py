"""The value of one proved bound and the rule that proved it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from lip_plugin.errors import UnsupportedLayerError


@dataclass(frozen=True)
class NormBound:
    """A proved upper bound of the L2 operator norm (for a nonlinear layer: of its L2 Lipschitz constant).

    Attributes:
        value: never below the exact constant; finite and at least 0.
        method: name of the rule that proved it.

    Raises:
        UnsupportedLayerError: the value is NaN, infinite or negative.
    """

    value: float
    method: str

    def __post_init__(self) -> None:
        if not (math.isfinite(self.value) and self.value >= 0.0):
            raise UnsupportedLayerError(
                f"norm bound by {self.method!r} is {self.value}, expected a finite number >= 0: check the weights"
            )
