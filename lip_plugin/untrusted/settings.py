"""Strict YAML: settings out of a file or a word of the command line, as plain mappings, lists, text and numbers."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import yaml

from lip_plugin.errors import ConfigError
from lip_plugin.untrusted.text import is_plain_text, printable

LARGEST_SETTINGS = 2**16
"""Bytes of a file, characters of a text: PyYAML reads them in a second. Recipes have one or two thousand."""
_DEEPEST = 16
_LONGEST_NUMBER = 100
_LARGEST_INTEGER = 2**63
_KIND = "tag:yaml.org,2002:"
# YAML 1.1 also takes 010 for 8, 0x10 for 16 and 1:30 for 90, which an author may not have meant.
_DECIMAL = re.compile(r"[-+]?(0|[1-9][0-9_]*)")


def parse_settings(text: str, what: str) -> Any:
    """The value of one YAML document; None where it is empty. Raises ConfigError that opens with ``what``.

    Mappings have text keys, each once. Words are read as YAML 1.1 reads them, except that dates stay text.
    Refused: anchors and aliases, which can unfold without end; tags; more than 16 levels; integers beyond 64
    bits or not in decimal; text that could steer a terminal; a second document. Time and memory are bounded
    by `LARGEST_SETTINGS` characters, since nothing is built that was not written out.
    """
    if len(text) > LARGEST_SETTINGS:
        raise ConfigError(f"{what} has {len(text)} characters; expected at most {LARGEST_SETTINGS}")
    try:
        return _Tree(yaml.SafeLoader(text)).document()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        reason = f"{error.problem or error.context}{f' in line {mark.line + 1}' if mark else ''}"
    except yaml.YAMLError as error:
        reason = str(error).partition("\n")[0]
    except (ValueError, OverflowError) as error:  # PyYAML's own, of an escape or version with too many digits
        reason = str(error)
    raise ConfigError(f"{what} is not valid YAML here: {printable(reason, longest=300)}")


class _Tree:
    """Builds values out of the parser's events, and stops at the first refusal. Messages end in the line."""

    def __init__(self, loader: yaml.SafeLoader) -> None:
        self._loader = loader

    def document(self) -> Any:
        self._next()  # the start of the stream
        if isinstance(self._next(), yaml.StreamEndEvent):
            return None
        value = self._value(self._next(), depth=1)
        self._next()  # the end of the document
        if not isinstance(self._next(), yaml.StreamEndEvent):
            raise ValueError("a second document; expected one")
        return value

    def _next(self) -> yaml.Event:
        """Raises ValueError on an event that no plain document has."""
        event = self._loader.get_event()
        if getattr(event, "anchor", None) is not None:  # aliases have it too
            raise ValueError(f"an anchor or alias (& or *){_line(event)}; write the value itself")
        if getattr(event, "tag", None) is not None:
            raise ValueError(f"a tag (!){_line(event)}; expected plain values")
        if isinstance(event, yaml.ScalarEvent) and not is_plain_text(event.value):
            raise ValueError(f"text with control characters{_line(event)}: '{printable(event.value, longest=80)}'")
        return event

    def _value(self, event: yaml.Event, depth: int) -> Any:
        if isinstance(event, yaml.ScalarEvent):
            return self._scalar(event)
        if depth > _DEEPEST:
            raise ValueError(f"more than {_DEEPEST} levels{_line(event)}")
        return self._list(depth) if isinstance(event, yaml.SequenceStartEvent) else self._mapping(depth)

    def _list(self, depth: int) -> list[Any]:
        found: list[Any] = []
        while not isinstance(event := self._next(), yaml.SequenceEndEvent):
            found.append(self._value(event, depth + 1))
        return found

    def _mapping(self, depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        while not isinstance(event := self._next(), yaml.MappingEndEvent):
            if not isinstance(event, yaml.ScalarEvent):
                raise ValueError(f"a key that is no word{_line(event)}")
            key: str = event.value
            if key in found:
                raise ValueError(f"key '{printable(key, longest=80)}' a second time{_line(event)}")
            found[key] = self._value(self._next(), depth + 1)
        return found

    def _scalar(self, event: yaml.ScalarEvent) -> Any:
        kind = self._loader.resolve(yaml.ScalarNode, event.value, event.implicit).removeprefix(_KIND)
        try:
            return _READERS.get(kind, str)(event.value)
        except ValueError as error:
            raise ValueError(f"{error}{_line(event)}") from None


def _line(event: yaml.Event) -> str:
    return f" in line {event.start_mark.line + 1}"


def _integer(text: str) -> int:
    if len(text) > _LONGEST_NUMBER:
        raise ValueError(f"an integer of {len(text)} characters; at most 64 bits are read")
    if not _DECIMAL.fullmatch(text):
        raise ValueError(f"number {text}, which readers take for different ones; write it in decimal, or in quotes")
    if not -_LARGEST_INTEGER <= int(text) < _LARGEST_INTEGER:
        raise ValueError(f"integer {text}; at most 64 bits are read")
    return int(text)


def _number(text: str) -> float:
    """Infinities and NaN have their own words in YAML and stay what they are, for whoever knows the setting."""
    word = text.lower().replace(".inf", "inf").replace(".nan", "nan")
    if len(text) > _LONGEST_NUMBER or ":" in text:
        raise ValueError(f"number {text[:20]}; expected a decimal of at most {_LONGEST_NUMBER} characters")
    if math.isinf(float(word)) and word == text:
        raise ValueError(f"number {text}, which is no finite double")
    return float(word)


def _truth(text: str) -> bool:
    return yaml.SafeLoader.bool_values[text.lower()]


def _nothing(text: str) -> None:
    return None


_READERS: dict[str, Callable[[str], Any]] = {"int": _integer, "float": _number, "bool": _truth, "null": _nothing}
