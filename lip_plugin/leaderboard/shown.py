"""Exact values as a reader sees them."""

from __future__ import annotations

from decimal import Decimal

from lip_plugin.untrusted import printable

MISSING = "-"


def percent(share: float) -> str:
    """A share in percent with one or two decimals, without a unit: 0.669 is 66.9, 0.7411 is 74.11."""
    digits = f"{(100 * Decimal(repr(share))).quantize(Decimal('0.01'))}"
    return digits.removesuffix("0")


def size(params: int) -> str:
    """Three digits: published sizes have no more."""
    for limit, unit, letter in ((999.5e6, 1e9, "B"), (999.5e3, 1e6, "M"), (999.5, 1e3, "k")):
        if params >= limit:
            return f"{float(f'{params / unit:.3g}'):,g} {letter}"
    return str(params)


def seconds(value: float) -> str:
    return f"{value:,.1f} s"


def ratio(value: float) -> str:
    return f"{value:.3f}"


def count(value: int) -> str:
    return f"{value:,}"


def words(text: str) -> str:
    return printable(text)


def yes_or_no(value: bool) -> str:
    return "yes" if value else "no"
