"""An evaluation that several processes share: those that torchrun has started, or the cores of this machine."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lip_plugin.cli import place
from lip_plugin.cli.ending import ended_together
from lip_plugin.cli.log import everything_on_stderr
from lip_plugin.cli.options import Asked
from lip_plugin.errors import ConfigError

if TYPE_CHECKING:
    from lip_plugin.cli.task import Task
    from lip_plugin.files import Output
    from lip_plugin.network import CertifiedClassifier
    from lip_plugin.ranks import Ranks

_PER_SECOND = 2**35
"""Products of one core, as `network.limits` counts them, of a certificate; a proof may be ten times as slow."""
_ATTACKED = 0.02
"""Of the images, at each radius, where certified ones are skipped and cheap attacks come first."""
_WORTH = 8.0
"""Seconds of work for every further process, which needs about half of it to begin."""
_SOON, _UNIT = 8, 256
"""Processes that are started before their work has been seen, and images of a work unit, at most and by default."""
_SMALL = 2**30
"""Products of a forward pass below which a second thread inside an operator costs more than it does."""


@dataclass(frozen=True)
class Shared:
    """What a process has of an evaluation; ``output`` only the first one, and only where it is to be written."""

    ranks: Ranks
    task: Task
    output: Output | None


@contextmanager
def shared_work(
    asked: Asked, select: Callable[[Ranks], Task], room: AbstractContextManager[Output | None]
) -> Generator[Shared]:
    """Everything that can be wrong before the work, and the processes that do it.

    An error in the block is one of all processes, which the first one says. Raises as ``select`` and ``room``;
    ConfigError where --jobs asks for what cannot be.
    """
    refused = _refusal(asked)
    if refused is not None and (asked.jobs or 1) > 1:
        raise ConfigError(f"--jobs {asked.jobs}: {refused}")
    with ExitStack() as held:
        if asked.verbose and not place.is_further() and os.environ.get("RANK", "0") == "0":
            held.enter_context(everything_on_stderr())
        if place.is_further():
            from lip_plugin.cli.jobs import own_ranks

            ranks = own_ranks()
            held.enter_context(ended_together(ranks))
            yield Shared(ranks, _beginning(ranks, lambda: select(ranks)), None)
        elif "WORLD_SIZE" in os.environ:
            yield _joined(asked, select, room, held)
        else:
            yield _started(asked, select, room, held, alone=refused is not None)


def _refusal(asked: Asked) -> str | None:
    """Why there can be no further processes."""
    if "WORLD_SIZE" in os.environ:
        return "torchrun (WORLD_SIZE) has started the processes; leave it out"
    if asked.device and not asked.device.startswith("cpu"):
        return f"processes share the cores of a CPU, not --device {asked.device}; leave one of them out"
    if not (place.can_start() or place.is_further()):
        return "only the command lip can start further processes of itself, on POSIX; use torchrun"
    return None


def _joined(
    asked: Asked, select: Callable[[Ranks], Task], room: AbstractContextManager[Output | None], held: ExitStack
) -> Shared:
    """One of torchrun's processes, or alone."""
    from lip_plugin.ranks import joined_ranks

    ranks = held.enter_context(joined_ranks(asked.device or "cpu", gradients=False))
    held.enter_context(ended_together(ranks))
    output = ranks.together(lambda: held.enter_context(room) if ranks.leads else None)
    return Shared(ranks, ranks.leader_first(lambda: select(ranks)), output)


def _started(
    asked: Asked,
    select: Callable[[Ranks], Task],
    room: AbstractContextManager[Output | None],
    held: ExitStack,
    *,
    alone: bool,
) -> Shared:
    """This process, and others where the work is worth it: only who has seen it can tell, but some can begin before."""
    from lip_plugin.cli.jobs import FurtherProcesses

    output = held.enter_context(room)
    others = held.enter_context(FurtherProcesses())
    others.start(0 if alone else _likely(asked) - 1)
    from lip_plugin.ranks import Ranks

    task = select(Ranks())
    ranks = others.joined(0 if alone else _count(asked, task) - 1)
    held.enter_context(ended_together(ranks))
    return Shared(ranks, _beginning(ranks, lambda: _meanwhile(task, ranks)), output)


def _beginning(ranks: Ranks, select: Callable[[], Task]) -> Task:
    """The first process selects while there is no other; then the others do the same."""
    task = ranks.together(select)
    _share_cores(ranks.world, task.model)
    return task


def _meanwhile(task: Task, ranks: Ranks) -> Task:
    """What can be proved until the others are there."""
    from lip_plugin.certificates import bounds_of, effort
    from lip_plugin.certificates.sharing import prove_until

    if ranks.exchange is not None:
        _share_cores(ranks.world, task.model)
        with bounds_of(task.request.bound or effort()):
            prove_until(task.model, ranks.exchange.is_awaited)
    return task


def _share_cores(count: int, model: CertifiedClassifier) -> None:
    """Threads of torch that this process may have."""
    import torch

    from lip_plugin.network.limits import network_work

    if model.device.type == "cpu" and (place.can_start() or place.is_further()):
        forward, _ = network_work(model.layers, model.input_shape)
        most = 1 if forward < _SMALL else max(1, _cores() // count)
        torch.set_num_threads(min(most, torch.get_num_threads()))


def _likely(asked: Asked) -> int:
    """How many processes there will hardly be less of, from what was typed."""
    blocks = _SOON if asked.count is None else -(-asked.count // (asked.batch_size or _UNIT))
    if asked.jobs is not None:
        return min(asked.jobs, _SOON)
    long = asked.attacks is not None or asked.data is not None or asked.data_dir is not None
    return min(_cores(), _SOON, blocks) if long else 1


def _count(asked: Asked, task: Task) -> int:
    """As many as asked for, as far as there is something to share; else one per core, as far as it is worth it."""
    from lip_plugin.certificates import bounds_of, effort
    from lip_plugin.certificates.sharing import proof_units

    with bounds_of(task.request.bound or effort()):
        units = max(-(-len(task.images) // task.request.batch_size), proof_units(task.model))
        if asked.jobs is not None:
            return min(asked.jobs, units)
        return min(_cores(), units, 1 + int(_seconds(task) / _WORTH))


def _seconds(task: Task) -> float:
    """Roughly, of one process."""
    from lip_plugin.evaluate.request import total_cost
    from lip_plugin.network.limits import network_work

    request, (forward, proof) = task.request, network_work(task.model.layers, task.model.input_shape)
    attacks = len(request.eps) * sum(map(total_cost, request.attacks))
    passes = len(task.images) * (1 + attacks * (_ATTACKED if request.skip_certified else 1))
    return (proof + passes * forward) / _PER_SECOND


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
