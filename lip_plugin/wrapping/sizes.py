"""Sizes as torch takes them."""

from __future__ import annotations

from typing import Any

from lip_plugin.errors import UnsupportedLayerError


def pair(value: Any, default: tuple[int, int] | None = None) -> tuple[int, int]:
    """(vertical, horizontal); one number stands for both, nothing (None or an empty list) for ``default``."""
    if value is None or value == () or value == []:
        if default is None:
            raise UnsupportedLayerError("a size is missing")
        return default
    sizes = (value,) if isinstance(value, int) else tuple(value)
    if len(sizes) not in (1, 2):
        raise UnsupportedLayerError(f"expected one or two sizes, got {value!r}")
    return int(sizes[0]), int(sizes[-1])
