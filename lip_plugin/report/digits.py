"""Decimal digits that err on the side on which a proof errs."""

from __future__ import annotations

import decimal

_DIGITS = 4


def rounded_down(value: float) -> str:
    """Four digits, never more than the value: for radii inside which something is proved."""
    return _digits(value, decimal.ROUND_FLOOR)


def rounded_up(value: float) -> str:
    """Four digits, never less than the value: for upper bounds."""
    return _digits(value, decimal.ROUND_CEILING)


def _digits(value: float, rounding: str) -> str:
    shown = decimal.Context(prec=_DIGITS, rounding=rounding).create_decimal(decimal.Decimal(value))
    return f"{shown:f}" if -6 < shown.adjusted() < 7 else f"{shown:e}"
