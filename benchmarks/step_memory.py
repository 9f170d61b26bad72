"""Memory of a training step: what is kept for the backward pass, and what an update needs for itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import accumulate
from typing import Any
from weakref import WeakSet

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.profiler import ProfilerActivity, profile


class _Saved:
    """A tensor that a graph holds; gone when the graph is."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor


def bytes_saved(forward: Callable[[], Tensor], parameters: Iterable[Tensor]) -> int:
    """Bytes that the graph of ``forward`` keeps for its backward pass, each storage once, without ``parameters``."""
    alive = WeakSet[_Saved]()

    def pack(tensor: Tensor) -> _Saved:
        saved = _Saved(tensor)
        alive.add(saved)
        return saved

    def unpack(saved: _Saved) -> Tensor:
        return saved.tensor

    with saved_tensors_hooks(pack, unpack):
        result = forward()
    storages = {storage.data_ptr(): storage.nbytes() for storage in (s.tensor.untyped_storage() for s in alive)}
    for parameter in parameters:
        storages.pop(parameter.untyped_storage().data_ptr(), None)
    del result
    return sum(storages.values())


def peak_bytes(work: Callable[[], object], device: torch.device) -> int:
    """How far allocations rise above where they were when ``work`` began, on a CPU by the profiler's record of all."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        work()
        return torch.cuda.max_memory_allocated(device) - before
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True, record_shapes=True) as profiler:
        work()
    allocations: list[tuple[int, int]] = []
    pending: list[Any] = list(profiler.profiler.kineto_results.experimental_event_tree())  # pyright: ignore[reportOptionalMemberAccess]
    while pending:
        event = pending.pop()
        pending += event.children
        if event.name == "[memory]":
            allocations.append((event.start_time_ns, event.extra_fields.alloc_size))
    allocations.sort(key=lambda allocation: allocation[0])
    return max(accumulate((size for _, size in allocations), initial=0))
