"""One bound for all processes: each proves some of the layers, and takes over what the others have proved."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from lip_plugin.bounds import NormBound, effort
from lip_plugin.certificates.arithmetic import certifying_arithmetic
from lip_plugin.certificates.together import merged
from lip_plugin.errors import ConfigError, UnsupportedLayerError
from lip_plugin.network import CertifiedClassifier, Operator
from lip_plugin.network.kinds import foreign_operators
from lip_plugin.network.limits import layer_work, placed_layers
from lip_plugin.network.operators.proved import ProofKey, is_proved, proof_key, proved_bound, remember
from lip_plugin.ranks import Ranks
from lip_plugin.types import Effort, Shape

_LONG = 2**32
"""Products, as `network.limits` counts them, of a proof of about a second."""


@dataclass(frozen=True)
class Proofs:
    """What travels: bounds of single operators, and of which network, and with how much effort, they were proved."""

    digest: str
    effort: Effort
    bounds: Mapping[ProofKey, NormBound]


@dataclass(frozen=True)
class _Task:
    key: ProofKey
    operator: Operator
    shape: Shape
    work: int


def share_proofs(model: CertifiedClassifier, ranks: Ranks) -> None:
    """Let every bound that the network's is made of be proved by one rank, and be known to all of them.

    The ranks then find the same bound, bit by bit, that one process does. What cannot be proved is left out, and is the
    error that it is when the bound is asked for. Bounds of other packages' operators do not travel.
    Raises ConfigError where the ranks have different networks, or want different bounds.
    """
    if ranks.world == 1:
        return
    own = model.copied()  # what is written into the model meanwhile must not be proved as it
    digest, tasks = own.digest, _tasks(own)
    known = Proofs(digest, effort(), _bounds_of(task for task in tasks if is_proved(task.key)))
    _take_over(ranks.gather(known), known, tasks)
    share = _shares([task for task in tasks if not is_proved(task.key)], ranks.world)[ranks.rank]
    found = Proofs(digest, effort(), ranks.together(lambda: _bounds_of(share)))
    _take_over(ranks.gather(found), found, tasks)


def prove_until(model: CertifiedClassifier, enough: Callable[[], bool]) -> None:
    """Prove layers, those with least work first, until it is enough; none that would keep others waiting for long."""
    for task in reversed(_tasks(model.copied())):
        if task.work > _LONG or enough():
            return
        _bounds_of([task])


def proof_units(model: CertifiedClassifier) -> int:
    """Into how many parts, of about the size of the largest one, the proof of the bound can be cut."""
    works = [task.work for task in _tasks(model)]
    return max(1, math.ceil(sum(works) / max(works))) if works else 1


def _take_over(given: Sequence[Proofs], own: Proofs, tasks: Sequence[_Task]) -> None:
    """Nothing but bounds of this very network. Raises ConfigError."""
    wanted = {task.key for task in tasks}
    for rank, proofs in enumerate(given):
        same = (proofs.digest, proofs.effort) == (own.digest, own.effort) and proofs.bounds.keys() <= wanted
        if not same:
            raise ConfigError(
                f"process {rank + 1} of {len(given)} has proved the {proofs.effort} bound of network "
                f"{proofs.digest[:12]}, not the {own.effort} one of {own.digest[:12]}; give all of them the same files"
            )
        remember(proofs.bounds)


def _bounds_of(tasks: Iterable[_Task]) -> dict[ProofKey, NormBound]:
    bounds: dict[ProofKey, NormBound] = {}
    with certifying_arithmetic():
        for task in tasks:
            with suppress(UnsupportedLayerError):
                bounds[task.key] = proved_bound(task.operator, task.shape)
    return bounds


def _tasks(model: CertifiedClassifier) -> list[_Task]:
    """Every bound that is proved by itself, the one with most work first; the order is that of all ranks."""
    found: dict[ProofKey, _Task] = {}
    for operator, shape in _operators(model):
        if not operator.chains() and operator.tensors() and not foreign_operators([operator]):
            key, work = proof_key(operator, shape), layer_work(operator, shape)[1]
            found.setdefault(key, _Task(key, operator, shape, work))
    return sorted(found.values(), key=lambda task: -task.work)


def _operators(model: CertifiedClassifier) -> Iterator[tuple[Operator, Shape]]:
    """All but the head, those inside others too, and those with scales in their weights."""
    yield from placed_layers(model.operators, model.input_shape)
    together = merged(model.layers, model.layer_input_shapes)[:-1]
    for layer, shape in zip(together, model.layer_input_shapes, strict=False):
        if layer is not None and layer.roundings:
            yield layer.operator, shape


def _shares(tasks: Sequence[_Task], count: int) -> list[list[_Task]]:
    """The longest first, each to whom has least so far."""
    shares: list[list[_Task]] = [[] for _ in range(count)]
    loads = [0] * count
    for task in tasks:
        least = loads.index(min(loads))
        shares[least].append(task)
        loads[least] += task.work
    return shares
