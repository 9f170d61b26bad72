"""softmax and log_softmax over the classes, as the end of a network: its logits have the same order."""

from __future__ import annotations

from typing import Any

from lip_plugin.wrapping.registry import rule
from lip_plugin.wrapping.traced import NoRuleError, Traced


@rule("log_softmax")
def _log_softmax(input: Traced, dim: Any = None, *arguments: Any, **settings: Any) -> Traced:
    return _over_classes(input, dim, "log_softmax")


@rule("softmax")
def _softmax(input: Traced, dim: Any = None, *arguments: Any, **settings: Any) -> Traced:
    return _over_classes(input, dim, "softmax")


def _over_classes(input: Traced, dim: Any, name: str) -> Traced:
    if len(input.features) != 1 or dim not in (None, 1, -1):
        raise NoRuleError(name)
    return input.ended(name)
