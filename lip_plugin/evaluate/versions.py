"""Which releases of foreign libraries an evaluation ran with."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, requires, version

_DISTRIBUTION = "lip-plugin"
_OF_AN_EXTRA = re.compile(r"([\w.-]+).*;.*extra == ['\"]([\w-]+)['\"]")


def attack_libraries(attacks: Iterable[str]) -> dict[str, str]:
    """Distribution -> version, of what the extras named like the attacks' libraries install.

    An attack that comes from elsewhere has no such extra and adds nothing.
    """
    libraries = {attack.partition("?")[0].partition(":")[0] for attack in attacks}
    found: dict[str, str] = {}
    for line in _requirements():
        match = _OF_AN_EXTRA.match(line)
        if match is not None and match[2] in libraries:
            with contextlib.suppress(PackageNotFoundError):
                found[match[1]] = version(match[1])
    return found


def _requirements() -> list[str]:
    try:
        return requires(_DISTRIBUTION) or []
    except PackageNotFoundError:  # a source tree on the path
        return []
