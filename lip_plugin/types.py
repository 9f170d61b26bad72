"""Shared small vocabulary: shapes and radii. No heavy imports."""

from __future__ import annotations

import math
from collections.abc import Iterable
from fractions import Fraction

from lip_plugin.errors import ConfigError

Shape = tuple[int, ...]
ImageShape = tuple[int, int, int]

ABSTAIN = -1
"""The label that `predict` gives where it will not vouch for one."""


def parse_eps(text: str | float) -> float:
    """A radius from ``0.25`` or ``"36/255"``: finite and >= 0. Raises ConfigError."""
    try:
        eps = float(Fraction(text.replace(" ", ""))) if isinstance(text, str) else float(text)
    except (ValueError, ZeroDivisionError, OverflowError, TypeError):
        raise ConfigError(f"eps {text!r} is not a number; give an L2 radius such as 0.25 or 36/255") from None
    if not math.isfinite(eps) or eps < 0:
        raise ConfigError(f"eps {text!r} must be finite and at least 0 (L2 radius, pixels in [0,1])")
    return eps


def parse_eps_grid(values: Iterable[str | float]) -> tuple[float, ...]:
    """Radii in ascending order without repetition. Raises ConfigError where there is none."""
    grid = tuple(sorted({parse_eps(value) for value in values}))
    if not grid:
        raise ConfigError("no eps was given; give at least one L2 radius such as 36/255")
    return grid


def format_eps(eps: float) -> str:
    """``36/255`` where eps is a multiple of 1/255 up to float rounding, a short decimal otherwise."""
    numerator = round(eps * 255)
    if numerator and abs(eps * 255 - numerator) < 1e-9 and abs(eps * 100 - round(eps * 100)) > 1e-9:
        return f"{numerator}/255"
    return f"{eps:.6g}"
