"""How long a step takes on a device, and for which share of that time the device computes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from statistics import median

import torch
from torch.profiler import ProfilerActivity, profile

Step = Callable[[], object]


def seconds_per_step(step: Step, device: torch.device, seconds: float) -> float:
    """Median after a warm-up."""
    (times,) = seconds_in_turns([step], device, seconds)
    return median(times)


def seconds_in_turns(
    steps: Sequence[Step], device: torch.device, seconds: float, *, warm_up: int = 3, least: int = 5
) -> list[list[float]]:
    """Per step, ``least`` or more times after a warm-up, all taking turns: what else the machine does meets them all.

    A GPU is waited for every tenth step only: a training loop does not wait at all.
    """
    repeated = 10 if device.type == "cuda" else 1
    for step in steps:
        for _ in range(warm_up):
            step()
    times: list[list[float]] = [[] for _ in steps]
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times[-1]) < least:
        for step, taken in zip(steps, times, strict=True):
            _wait(device)
            started = time.perf_counter()
            for _ in range(repeated):
                step()
            _wait(device)
            taken.append((time.perf_counter() - started) / repeated)
    return times


def busy_share(step: Step, device: torch.device, step_seconds: float) -> float:
    """The share of ``step_seconds`` in which at least one kernel runs, from torch.profiler.

    Profiling slows the host down, not the kernels, so that the time of a step without it is what counts. On a CPU,
    where operators are slowed down too, it is the share of the profiled time in which one of them runs.
    """
    on_gpu = device.type == "cuda"
    steps = 10 if on_gpu else 2
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]
    step()
    _wait(device)
    with profile(activities=activities) as profiler:
        started = time.perf_counter()
        for _ in range(steps):
            step()
        _wait(device)
        profiled = time.perf_counter() - started
    kind = "CUDA" if on_gpu else "CPU"
    computing = [e for e in profiler.events() or () if e.device_type.name == kind and not e.is_user_annotation]
    busy = covered((event.time_range.start, event.time_range.end) for event in computing) * 1e-6
    return busy / (steps * step_seconds if on_gpu else profiled)


def covered(intervals: Iterable[tuple[float, float]]) -> float:
    """Length of the union of (start, end)."""
    total, reached = 0.0, float("-inf")
    for start, end in sorted(intervals):
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
