"""Several processes as one: started by torchrun (or accelerate launch) and joined by torch.distributed, or by `lip`."""

from __future__ import annotations

import importlib
import os
import pickle
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Protocol, TypeVar

import torch
import torch.distributed as dist
from torch import nn

from lip_plugin.errors import ConfigError

T_ = TypeVar("T_")

_PATIENCE = timedelta(days=1)
"""Blocks of images differ in work: a rank that is done early waits this long for the others."""
_LAST_WORD = timedelta(seconds=60)


class Exchange(Protocol):
    """The way between processes that torch.distributed does not join."""

    def gather(self, value: Any) -> list[Any]:
        """The values of all ranks, in rank order and on every rank."""
        ...

    def is_awaited(self) -> bool:
        """Whether all others wait for this rank."""
        ...


@dataclass(frozen=True)
class Ranks:
    """This process among ``world`` of them. Rank 0 writes files and shows progress.

    With an ``exchange`` values travel by it, and there is nothing but `gather` and what is made of it: training, whose
    gradients are averaged, needs torch.distributed.
    """

    rank: int = 0
    world: int = 1
    exchange: Exchange | None = None

    @property
    def leads(self) -> bool:
        return self.rank == 0

    def share_of(self, batch_size: int) -> slice:
        """This rank's part of every global batch. Raises ConfigError where it does not divide."""
        if batch_size % self.world:
            raise ConfigError(f"batch_size={batch_size} does not divide by {self.world} processes; change one of them")
        local = batch_size // self.world
        return slice(self.rank * local, (self.rank + 1) * local)

    def average_gradients(self, model: nn.Module) -> None:
        """Mean of the gradients over ranks, in one flat all-reduce: the gradient of the global batch's mean loss."""
        if self.world == 1:
            return
        gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        dist.all_reduce(flat)
        flat /= self.world
        pieces = flat.split([gradient.numel() for gradient in gradients])
        torch._foreach_copy_(  # pyright: ignore[reportPrivateUsage, reportPrivateImportUsage]
            gradients, [piece.view_as(gradient) for piece, gradient in zip(pieces, gradients, strict=True)]
        )

    def take_from_leader(self, module: nn.Module) -> None:
        """Overwrite parameters and buffers by those of the first rank."""
        if self.world > 1:
            for tensor in module.state_dict().values():
                dist.broadcast(tensor, 0)

    def any(self, flag: bool) -> bool:
        """Whether the flag is set on any rank; the same answer on all of them."""
        if self.world == 1:
            return flag
        votes = torch.tensor([int(flag)], device=_device_of_backend())
        dist.all_reduce(votes, op=dist.ReduceOp.MAX)
        return bool(votes.item())

    def mean(self, value: float) -> float:
        """The mean of a number over ranks."""
        if self.world == 1:
            return value
        total = torch.tensor([value], dtype=torch.float64, device=_device_of_backend())
        dist.all_reduce(total)
        return float(total) / self.world

    def wait(self) -> None:
        if self.world > 1:
            dist.barrier()

    def wait_for_last_word(self) -> None:
        """Before ending with an error that all ranks have: wait for the leader to say so, a minute at most (gloo).

        torchrun stops the other processes as soon as one of them fails.
        """
        if self.world > 1 and self.exchange is None:
            dist.monitored_barrier(timeout=_LAST_WORD)

    def gather(self, value: T_) -> list[T_]:
        """The values of all ranks, in rank order and on every rank. They travel as pickles."""
        if self.world == 1:
            return [value]
        if self.exchange is not None:
            return self.exchange.gather(value)
        values: list[Any] = [None] * self.world
        dist.all_gather_object(values, value)
        return values

    def together(self, work: Callable[[], T_]) -> T_:
        """What ``work`` returns on this rank. Where it raises on any rank, every rank raises the first one's error."""
        if self.world == 1:
            return work()
        result: list[T_] = []
        failure: Exception | None = None
        try:
            result.append(work())
        except Exception as error:  # whatever it is, the other ranks must not wait for this one
            failure = error
        failures = self.gather(None if failure is None else _portable(failure))
        for rank, error in enumerate(failures):
            if error is not None:
                raise failure if failure is not None and rank == self.rank else error
        return result[0]

    def leader_first(self, work: Callable[[], T_]) -> T_:
        """`together`, where the others begin after the leader is done and find what it has left on disk."""
        led = self.together(lambda: [work()] if self.leads else [])
        return self.together(lambda: led[0] if led else work())


@contextmanager
def joined_ranks(device: str, *, gradients: bool = True) -> Generator[Ranks]:
    """Join the processes that torchrun has started, or stand alone where it has not.

    On "cuda" every process takes a GPU of its own. Without ``gradients`` only small results are exchanged:
    over the CPU, and processes wait for each other for as long as a day. Raises ConfigError where a machine
    has more processes than GPUs.
    """
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        yield Ranks()
        return
    on_gpu = device.startswith("cuda")
    if on_gpu:
        _take_own_gpu()
    _import_before_joining()
    backend = "nccl" if on_gpu and gradients else "gloo"
    dist.init_process_group(backend, timeout=None if gradients else _PATIENCE)
    try:
        yield Ranks(dist.get_rank(), world)
    finally:
        dist.destroy_process_group()


def _import_before_joining() -> None:
    """A module whose default arguments are the group of the moment it is imported.

    Left to torch's optimisers, it is imported while the group stands and keeps the threads of gloo alive after
    ``destroy_process_group``: until they meet the end of the interpreter, and abort.
    """
    importlib.import_module("torch.distributed.nn.functional")


def _take_own_gpu() -> None:
    local = int(os.environ.get("LOCAL_RANK", "0"))
    processes, gpus = int(os.environ.get("LOCAL_WORLD_SIZE", local + 1)), torch.cuda.device_count()
    if processes > gpus:
        raise ConfigError(f"{processes} processes on a machine with {gpus} GPUs; start at most one for each")
    torch.cuda.set_device(local)


def _portable(error: Exception) -> Exception:
    """The error itself where it survives a pickle, else one that says the same."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


def _device_of_backend() -> str:
    return "cuda" if dist.get_backend() == "nccl" else "cpu"
