"""What the images of our official test splits are known by: one file each, written by ``tools/known_images.py``."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib import resources


def shipped_digests(name: str) -> Callable[[], bytes]:
    """For `TestSplit`: reads the file of this data set when it is asked for."""
    return lambda: _content(name)


@cache
def _content(name: str) -> bytes:
    return (resources.files(__name__) / f"{name}.digests").read_bytes()
