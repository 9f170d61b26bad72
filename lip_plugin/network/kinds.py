"""Which operators there are: ours, and those that other packages bring through ``lip_plugin.operators``.

An operator of another package is code that is trusted: its bound, its rounding and its function are whatever it says.
So it is named wherever a figure rests on it, and `lip verify` refuses it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from lip_plugin.errors import CheckpointError
from lip_plugin.network.operators import BUILT_IN, OPERATOR_KINDS, Operator
from lip_plugin.plugins import PluginGroup
from lip_plugin.untrusted import printable

OPERATORS = PluginGroup("lip_plugin.operators", "operator")
"""Every entry is named after the kind of the `Operator` subclass that it loads."""


def operator_type(kind: str) -> type[Operator]:
    """The operator of a kind; imports the package that brings it where it is not ours. Raises CheckpointError."""
    if kind not in OPERATOR_KINDS and kind in OPERATORS.names():
        loaded = OPERATORS.load(kind)
        if OPERATOR_KINDS.get(kind) is not loaded:
            raise CheckpointError(f"the entry point {kind!r} of {OPERATORS.group} loads no operator of that kind")
    if kind not in OPERATOR_KINDS:
        known = ", ".join(sorted({*OPERATOR_KINDS, *OPERATORS.names()}))
        raise CheckpointError(
            f"unknown operator kind '{printable(kind, longest=80)}'; known: {known}; install the package that brings it"
        )
    return OPERATOR_KINDS[kind]


def is_known(operator: Operator) -> bool:
    """Whether this is an operator of exactly the type that goes by its kind."""
    return OPERATOR_KINDS.get(type(operator).kind) is type(operator)


def is_unaltered(operator: Operator) -> bool:
    """A known operator whose instance has its fields and nothing that replaces a method."""
    return is_known(operator) and set(vars(operator)) == {field.name for field in dataclasses.fields(operator)}


def foreign_operators(operators: Sequence[Operator]) -> tuple[str, ...]:
    """``kind (module.Class)`` of every operator that is not ours, sorted."""
    foreign = {type(operator) for operator in operators if operator.kind not in BUILT_IN}
    return tuple(sorted(f"{kind.kind} ({kind.__module__}.{kind.__qualname__})" for kind in foreign))
