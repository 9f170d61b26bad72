"""Strict JSON: one reading of every document, and none of Python's extensions."""

from __future__ import annotations

import json
import math
from typing import Any, NoReturn

from lip_plugin.errors import CheckpointError
from lip_plugin.untrusted.text import is_plain_text, printable

_MOST_KEYS = 2**16  # of an object; 4096 layers have fewer tensors
_DEEPEST = 128  # 32 operators inside one another have 100 levels
_LONGEST_NUMBER = 100
_LARGEST_INTEGER = 2**63


def parse_document(content: bytes, what: str) -> Any:
    """The value of a UTF-8 JSON document. Raises CheckpointError that opens with ``what``.

    Refused beyond the standard: a key that occurs twice in an object (parsers differ in which one wins),
    NaN and infinities, integers beyond 64 bits, more than 128 levels, more than
    65,536 keys in one object, and text that could steer a terminal.
    """
    try:
        value = json.loads(
            content.decode("utf-8"),
            object_pairs_hook=_unique,
            parse_constant=_refuse_constant,
            parse_int=_integer,
            parse_float=_finite,
        )
        _check_tree(value)
    except RecursionError:
        raise CheckpointError(f"{what} is not valid JSON here: more than {_DEEPEST} levels deep") from None
    except ValueError as error:
        raise CheckpointError(f"{what} is not valid JSON here: {error}") from error
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(pairs) > _MOST_KEYS:
        raise ValueError(f"an object with {len(pairs)} keys; at most {_MOST_KEYS} are read")
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"key '{printable(key, longest=80)}' occurs twice in one object")
        found[key] = value
    return found


def _refuse_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is not a JSON number")


def _integer(text: str) -> int:
    if len(text) > _LONGEST_NUMBER or not -_LARGEST_INTEGER <= int(text) < _LARGEST_INTEGER:
        raise ValueError(f"an integer of {len(text)} characters; at most 64 bits are read")
    return int(text)


def _finite(text: str) -> float:
    if len(text) > _LONGEST_NUMBER or not math.isfinite(float(text)):
        raise ValueError(f"number {text[:20]} is no finite double")
    return float(text)


def _check_tree(value: Any) -> None:
    """Depth and text of everything, keys included; a stack of our own, which cannot overflow."""
    pending: list[tuple[Any, int]] = [(value, 1)]
    while pending:
        item, depth = pending.pop()
        if isinstance(item, str) and not is_plain_text(item):
            raise ValueError(f"text with control characters: '{printable(item, longest=80)}'")
        if isinstance(item, dict | list):
            if depth > _DEEPEST:
                raise RecursionError
            inner: list[Any] = [*item, *item.values()] if isinstance(item, dict) else item
            pending += [(part, depth + 1) for part in inner]
