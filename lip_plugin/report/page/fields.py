"""Numbers of ``report.json`` in the page: each says which one it is, so that the two can be held together."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from markupsafe import Markup, escape

from lip_plugin.report.digits import rounded_down, rounded_up
from lip_plugin.report.summary import percent
from lip_plugin.types import format_eps
from lip_plugin.untrusted import printable

MISSING = "none"


FORMS: Mapping[str, Callable[[Any], str]] = {
    "count": lambda value: f"{value:,}",
    "eps": format_eps,
    "percent": percent,
    "bare_percent": lambda value: percent(value, unit=""),
    "ratio": lambda value: f"{value:.3f}",
    "rounded_down": rounded_down,
    "rounded_up": rounded_up,
    "seconds": lambda value: f"{value:.1f} s",
    "text": lambda value: printable(str(value)),
}


def look_up(document: Any, pointer: str) -> Any:
    """The value at a JSON pointer (RFC 6901). Raises KeyError, IndexError, ValueError where there is none."""
    value = document
    for token in pointer.split("/")[1:]:
        name = token.replace("~1", "/").replace("~0", "~")
        value = value[int(name)] if isinstance(value, list) else value[name]
    return value


def pointer_token(name: str) -> str:
    """A key as a part of a JSON pointer."""
    return name.replace("~", "~0").replace("/", "~1")


def field(document: Mapping[str, Any], pointer: str, form: str) -> Markup:
    """The value at ``pointer`` as ``<span data-field data-form>``, or a word where it is null."""
    value = look_up(document, pointer)
    shown = MISSING if value is None else FORMS[form](value)
    return Markup('<span data-field="{}" data-form="{}">{}</span>').format(escape(pointer), form, shown)
