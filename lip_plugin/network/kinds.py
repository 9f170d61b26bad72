"""Whose operators these are, and whether they are what their kind says; those inside others included."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from lip_plugin.network.operators import BUILT_IN, OPERATOR_KINDS, Operator


def all_operators(operators: Iterable[Operator]) -> Iterator[Operator]:
    """Every operator, and those inside it after it."""
    for operator in operators:
        yield operator
        yield from (inner for chain in operator.chains() for inner in all_operators(chain))


def is_known(operator: Operator) -> bool:
    """Whether this, and all inside it, is of exactly the types that go by these kinds."""
    return all(OPERATOR_KINDS.get(type(one).kind) is type(one) for one in all_operators([operator]))


def is_unaltered(operator: Operator) -> bool:
    """A known operator whose instance has its fields and nothing that replaces a method; the same of all inside it."""
    return is_known(operator) and all(
        set(vars(one)) == {field.name for field in dataclasses.fields(one)} for one in all_operators([operator])
    )


def foreign_operators(operators: Iterable[Operator]) -> tuple[str, ...]:
    """``kind (module.Class)`` of every operator that is not ours, sorted."""
    foreign = {type(operator) for operator in all_operators(operators) if operator.kind not in BUILT_IN}
    return tuple(sorted(f"{kind.kind} ({kind.__module__}.{kind.__qualname__})" for kind in foreign))


def foreign_kinds(records: Iterable[Mapping[str, Any]]) -> set[str]:
    """The kinds in the operator list of a card that are not ours; nothing is imported."""
    found: set[str] = set()
    for record in records:
        found |= {record["kind"]} - BUILT_IN
        for value in record["settings"].values():
            if isinstance(value, list):
                found |= foreign_kinds(inner for inner in value if isinstance(inner, dict) and "kind" in inner)
    return found
