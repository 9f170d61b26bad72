"""From a kind's name to its operator: ours, or one that another package brings through ``lip_plugin.operators``.

An operator of another package is code that is trusted: its bound, its rounding and its function are whatever it says.
So it is named wherever a figure rests on it, and `lip verify` refuses it.
"""

from __future__ import annotations

from lip_plugin.errors import CheckpointError
from lip_plugin.network.operators.base import OPERATOR_KINDS, Operator
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
