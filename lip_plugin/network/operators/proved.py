"""Bounds of operators, proved once: remembered by the operator's bytes, so that changed weights never hit."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from typing import TypeAlias

import torch

from lip_plugin.bounds import NormBound, effort
from lip_plugin.network.operators.base import Operator
from lip_plugin.network.operators.digest import network_digest
from lip_plugin.types import Effort, Shape

_KEPT = 1024

ProofKey: TypeAlias = "tuple[str, tuple[torch.dtype, ...], tuple[type[Operator], ...], Effort]"
"""What a bound follows from: kind, settings, bytes and input shape by their digest, and what that leaves open."""

_proved: OrderedDict[ProofKey, NormBound] = OrderedDict()


def proved_bound(operator: Operator, shape: Shape) -> NormBound:
    """`Operator.lipschitz_upper_bound`, proved once for everybody who asks in this process."""
    key = proof_key(operator, shape)
    bound = _proved.get(key)  # once: another thread may forget it at any time
    if bound is None:
        bound = operator.lipschitz_upper_bound(shape)
        if proof_key(operator, shape) == key:  # not written to meanwhile
            remember({key: bound})
    return bound


def proof_key(operator: Operator, shape: Shape) -> ProofKey:
    """Of a bound of the present effort."""
    dtypes = tuple(value.dtype for value in operator.tensors().values())
    return network_digest([operator], shape, torch.float64), dtypes, tuple(_types(operator)), effort()


def is_proved(key: ProofKey) -> bool:
    return key in _proved


def remember(bounds: Mapping[ProofKey, NormBound]) -> None:
    """Of which the caller knows that they are proved."""
    _proved.update(bounds)
    while len(_proved) > _KEPT:
        _proved.popitem(last=False)


def forget_proofs() -> None:
    """For whoever measures what a proof costs."""
    _proved.clear()


def _types(operator: Operator) -> Iterator[type[Operator]]:
    """Its own and those inside it: a class that inherits its kind may have another bound."""
    yield type(operator)
    for chain in operator.chains():
        for one in chain:
            yield from _types(one)
