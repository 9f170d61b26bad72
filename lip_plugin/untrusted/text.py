"""Text from a file: what may be a name, what may be shown, and how the rest reaches a terminal."""

from __future__ import annotations

import re
from collections.abc import Iterable

# Controls but tab and newline (escape sequences), what turns the reading direction, line separators, lone surrogates.
_UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_LONGEST_NAME = 200


def is_plain_text(text: str) -> bool:
    """Whether text can be shown as it is: no control but tab and newline, nothing that reorders what is read."""
    return _UNSAFE.search(text) is None


def is_plain_name(name: str) -> bool:
    """Whether this names one thing and no place: one printable line without path separators."""
    return (
        0 < len(name) <= _LONGEST_NAME
        and name.isprintable()
        and name == name.strip()
        and name not in (".", "..")
        and not {"/", "\\"} & set(name)
    )


def printable(text: str, *, longest: int | None = None) -> str:
    """The text with everything that does not print as a backslash escape, cut at ``longest`` characters."""
    cut = text if longest is None or len(text) <= longest else f"{text[:longest]}..."
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in cut)


def few(names: Iterable[str], *, shown: int = 4) -> str:
    """The first few names in quotes and how many more there are: a message stays one readable line."""
    everything = list(names)
    listed = ", ".join(f"'{printable(name, longest=80)}'" for name in everything[:shown])
    rest = len(everything) - shown
    return (listed or "none") + (f" and {rest} more" if rest > 0 else "")
