"""Several processes as one: started by torchrun (or accelerate launch), joined by torch.distributed."""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import nn

from lip_plugin.errors import ConfigError


@dataclass(frozen=True)
class Ranks:
    """This process among ``world`` of them. Rank 0 writes files and shows progress."""

    rank: int = 0
    world: int = 1

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


@contextmanager
def joined_ranks(device: str) -> Generator[Ranks]:
    """Join the processes that torchrun has started, or stand alone where it has not."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        yield Ranks()
        return
    on_gpu = device.startswith("cuda")
    if on_gpu:
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    dist.init_process_group("nccl" if on_gpu else "gloo")
    try:
        yield Ranks(dist.get_rank(), world)
    finally:
        dist.destroy_process_group()


def _device_of_backend() -> str:
    return "cuda" if dist.get_backend() == "nccl" else "cpu"
