"""The settings in a string such as ``torchattacks:PGDL2?steps=50`` or ``folder:DIR?size=32``. No torch."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from typing import Any

from lip_plugin.errors import ConfigError


def read_settings(query: str, what: str) -> dict[str, Any]:
    """``key=value&key=value``: values are Python literals where they parse as such, strings otherwise.

    ``what`` begins the message. Raises ConfigError.
    """
    settings: dict[str, Any] = {}
    for item in filter(None, query.split("&")):
        key, separator, value = item.partition("=")
        if not separator or not key.isidentifier():
            raise ConfigError(f"{what}: {item!r} is not of the form key=value")
        settings[key] = _literal(value)
    return settings


def written_settings(settings: Mapping[str, Any]) -> str:
    """As `read_settings` reads them, with the question mark, sorted; empty without any."""
    return f"?{'&'.join(f'{key}={value}' for key, value in sorted(settings.items()))}" if settings else ""


def _literal(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
