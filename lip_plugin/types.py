"""Shared small vocabulary: shapes and radii. No heavy imports."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from lip_plugin.errors import ConfigError

Shape = tuple[int, ...]
ImageShape = tuple[int, int, int]

Effort = Literal["quick", "tight"]
"""How much work the proof of a Lipschitz bound takes: `lp.bounds_of`."""

LARGEST_EPS = 1e6  # far beyond the diagonal of any image

OWN_IMAGES = "own images"
"""The name of images that are not those of a test split that is known by its digests, whatever they are called."""

ABSTAIN = -1
"""The label that `predict` gives where it will not vouch for one."""


def parse_eps(text: str | float) -> float:
    """A radius from ``0.25`` or ``"36/255"``: finite and >= 0. Raises ConfigError."""
    try:
        if isinstance(text, str):
            numerator, _, denominator = text.partition("/")
            eps = float(numerator) / float(denominator or "1")
        else:
            eps = float(text)
    except (ValueError, ZeroDivisionError, OverflowError, TypeError):
        raise ConfigError(f"eps {text!r} is not a number; give an L2 radius such as 0.25 or 36/255") from None
    if not 0 <= eps <= LARGEST_EPS:  # false for NaN too
        raise ConfigError(f"eps {text!r} must be at least 0 and at most {LARGEST_EPS:g} (L2 radius, pixels in [0,1])")
    return eps


def parse_eps_grid(values: Iterable[str | float]) -> tuple[float, ...]:
    """Radii in ascending order without repetition. Raises ConfigError where there is none."""
    grid = tuple(sorted({parse_eps(value) for value in values}))
    if not grid:
        raise ConfigError("no eps was given; give at least one L2 radius such as 36/255")
    return grid


def format_eps(eps: float) -> str:
    """The shortest text that `parse_eps` reads back exactly: ``0.25``, ``36/255``, else all digits."""
    candidates = (f"{eps:.6g}", f"{round(eps * 255)}/255")
    return next((text for text in candidates if parse_eps(text) == eps), repr(eps))
