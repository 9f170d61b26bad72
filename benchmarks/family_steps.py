"""One training step of every family and reference layer: ours against its paper's formula in plain torch, in one run.

Sizes are those of the recipes. Both start from the same weights and see the same batch: in float64 logits must agree
within 1e-6 of the largest before anything is timed, and so must gradients but where ours is that of another form of
the same bound. Then both take turns, in float32: forward, EMMA loss, backward, update. `kept`: what the graph of the
loss holds for the backward pass; `update`: what the optimiser's step needs at its peak beside parameters and gradients.

usage: python benchmarks/family_steps.py [--families LipNeXt soc] [--seconds 20] [--threads 1] [--batch 128]
       python benchmarks/family_steps.py --families LipNeXt --device cuda --set model.width=1024 --set model.depth=32
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import NamedTuple, Protocol

import torch
import torch.nn.functional as F
from device_time import seconds_in_turns
from plain_families import PLAIN_FEATURES, PlainOrthogonalAdam, feature_norm, start_vectors
from step_memory import bytes_saved, peak_bytes
from torch import Tensor

from lip_plugin.losses import emma_loss
from lip_plugin.models import CertifiableModel, LipNeXt
from lip_plugin.train.config import TrainConfig, load_config
from lip_plugin.train.estimates import label_lipschitz_estimate
from lip_plugin.train.state import TrainState, initial_state
from lip_plugin.train.step import train_step

BLOCKS = ("gloro", "aol", "sll", "cpl", "cayley", "soc", "lot", "aoc")
FAMILIES: dict[str, tuple[str, ...]] = {
    "LiResNet++": ("cifar10_small",),
    "BRONet": ("cifar10_small_bronet",),
    "LipNeXt": ("cifar10_small_lipnext",),
    **{block: ("cifar10_comparison", f"model.block={block}") for block in BLOCKS},
}
"""Recipe and settings."""
OTHER_GRADIENT = ("cpl", "soc")
"""Ours differentiates ||A v|| at the leading v where the formula differentiates the Gram iteration."""


class Side(Protocol):
    """One of the two that are compared."""

    model: CertifiableModel

    def logits(self, x: Tensor) -> Tensor: ...
    def loss(self, x: Tensor, y: Tensor) -> Tensor: ...
    def update(self) -> None: ...
    def step(self, x: Tensor, y: Tensor) -> object: ...


class Ours:
    def __init__(self, config: TrainConfig, state: TrainState) -> None:
        self.config, self.state, self.model = config, state, state.model

    def logits(self, x: Tensor) -> Tensor:
        return self.state.forward(x)

    def loss(self, x: Tensor, y: Tensor) -> Tensor:
        scale = self.config.temperature
        logits = self.logits(x) / scale
        pair = label_lipschitz_estimate(self.model, self.state.estimates, y) / scale
        return emma_loss(logits, y, pair_lipschitz=pair, eps=self.config.eps)

    def update(self) -> None:
        self.state.optimiser.step()

    def step(self, x: Tensor, y: Tensor) -> object:
        return train_step(self.config, self.state, x, y, self.config.eps)


class Plain:
    def __init__(self, config: TrainConfig, model: CertifiableModel) -> None:
        self.config, self.model = config, model
        self.vectors = start_vectors(model)
        self.matrices = PlainOrthogonalAdam(model, config.learning_rate) if isinstance(model, LipNeXt) else None
        moved = {id(p) for p in ([] if self.matrices is None else self.matrices.parameters)}
        rest = [parameter for parameter in model.parameters() if id(parameter) not in moved]
        self.others = torch.optim.AdamW(rest, lr=config.learning_rate, weight_decay=config.weight_decay)

    def logits(self, x: Tensor) -> Tensor:
        rows = F.normalize(self.model.head.get_parameter("weight"), dim=1)
        return F.linear(PLAIN_FEATURES[type(self.model)](self.model, x), rows, self.model.head.bias)

    def loss(self, x: Tensor, y: Tensor) -> Tensor:
        rows = F.normalize(self.model.head.get_parameter("weight"), dim=1)
        pair = feature_norm(self.model, self.vectors) * (rows[:, None] - rows + 1e-12).norm(dim=2)
        scale = self.config.temperature
        return emma_loss(self.logits(x) / scale, y, pair_lipschitz=pair / scale, eps=self.config.eps)

    def update(self) -> None:
        self.others.step()
        if self.matrices is not None:
            self.matrices.step()

    def step(self, x: Tensor, y: Tensor) -> object:
        self.model.zero_grad(set_to_none=True)
        loss = self.loss(x, y)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.config.gradient_clip)
        self.update()
        return loss.detach()


def sides(name: str, settings: Sequence[str] = (), device: str = "cpu") -> tuple[Ours, Plain]:
    """Both with the same weights, in training mode."""
    recipe, *own = FAMILIES[name]
    fixed = ("loss=emma", "bfloat16=false", "optimiser=adamw", f"device={device}")
    config = load_config(recipe, [*own, *fixed, *settings])
    state = initial_state(config, input_shape=(3, 32, 32), num_classes=10)
    state.model.train()
    return Ours(config, state), Plain(config, copy.deepcopy(state.model))


def disagreement(ours: Ours, plain: Plain, x: Tensor) -> tuple[float, float]:
    """In float64, of logits and of all gradients of one functional of them, relative to the largest of each."""
    found: list[tuple[Tensor, Tensor]] = []
    for side in (ours, plain):
        model = side.model.double()
        logits = side.logits(x.double())
        weights = torch.linspace(-1, 1, logits.numel(), dtype=torch.float64, device=x.device)
        gradients = torch.autograd.grad((logits.flatten() * weights).sum(), list(model.parameters()))
        found.append((logits.detach(), torch.cat([gradient.flatten() for gradient in gradients])))
    (a, b), (c, d) = found
    return float((a - c).abs().max() / c.abs().max()), float((b - d).abs().max() / d.abs().max())


class Memory(NamedTuple):
    kept: int
    update: int


@dataclass(frozen=True)
class Row:
    """Medians of seconds per step and bytes, ours and plain; of the quotients of neighbouring steps."""

    seconds: tuple[float, float]
    plain_over_ours: float
    memory: tuple[Memory, Memory]

    def markdown(self, name: str, batch: int) -> str:
        ours, plain = self.seconds
        kept, update = ((b / 2**20 for b in pair) for pair in zip(*self.memory, strict=True))
        speeds = f"{batch / ours:.0f} | {batch / plain:.0f} | {self.plain_over_ours:.2f}"
        return (
            f"| {name} | {speeds} | {' / '.join(f'{b:.1f}' for b in kept)} | {' / '.join(f'{b:.1f}' for b in update)} |"
        )


def measured(name: str, x: Tensor, y: Tensor, *, seconds: float = 20.0, settings: Sequence[str] = ()) -> Row:
    """Raises RuntimeError where the two are not the same function."""
    of_logits, of_gradients = disagreement(*sides(name, settings, x.device.type), x)
    if of_logits > 1e-6 or (of_gradients > 1e-6 and name not in OTHER_GRADIENT):
        raise RuntimeError(f"{name}: logits differ by {of_logits:.1e}, gradients by {of_gradients:.1e}")
    both: tuple[Side, Side] = sides(name, settings, x.device.type)
    ours, plain = seconds_in_turns([lambda side=side: side.step(x, y) for side in both], x.device, seconds)
    kept = [bytes_saved(lambda side=side: side.loss(x, y), side.model.parameters()) for side in both]
    update = [peak_bytes(side.update, x.device) for side in both]
    memory = tuple(Memory(*pair) for pair in zip(kept, update, strict=True))
    quotient = median(b / a for a, b in zip(ours, plain, strict=True))
    return Row((median(ours), median(plain)), quotient, (memory[0], memory[1]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--families", nargs="+", choices=FAMILIES, default=[*FAMILIES])
    parser.add_argument("--seconds", type=float, default=20.0, help="of each family")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting of the recipes")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    x = torch.rand(options.batch, 3, 32, 32).to(options.device).contiguous(memory_format=torch.channels_last)
    y = torch.randint(0, 10, (options.batch,)).to(options.device)
    print("| | ours, images/s | plain | ours over plain | kept, ours / plain, MiB | update, ours / plain, MiB |")
    print("|---|---|---|---|---|---|")
    for name in options.families:
        row = measured(name, x, y, seconds=options.seconds, settings=options.set)
        print(row.markdown(name, options.batch), flush=True)


if __name__ == "__main__":
    main()
