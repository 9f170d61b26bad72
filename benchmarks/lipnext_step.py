"""Training throughput of LipNeXt: our step against a plain formulation of the same step, in one run.

The plain formulation applies R, R^T and M one after the other, shifts by `torch.roll` and `torch.cat`, and moves each
orthogonal matrix by `torch.linalg.matrix_exp` of Adam's step, one matrix at a time. Both start from the same weights
and see the same batch; first losses are compared, and weights after a step, before anything is timed.

usage: python benchmarks/lipnext_step.py [--width 128] [--depth 6] [--patch 4] [--batch 128] [--threads 1]
       python benchmarks/lipnext_step.py --device cuda --width 1024 --depth 32 --batch 256 --bfloat16
"""

from __future__ import annotations

import argparse
from functools import partial

import torch
import torch.nn.functional as F
from device_time import seconds_per_step
from torch import Tensor

from lip_plugin.losses import emma_loss
from lip_plugin.models import LipNeXt
from lip_plugin.network import L2Pool
from lip_plugin.train.config import TrainConfig
from lip_plugin.train.state import TrainState, initial_state
from lip_plugin.train.step import train_step

EPS = 36 / 255
MOVES = ((2, -1), (2, 1), (3, -1), (3, 1))


def plain_features(model: LipNeXt, x: Tensor) -> Tensor:
    """The formula as it is written."""
    c, k = model.shifted, model.folded
    x = F.conv2d(x - 0.5, model.patch_kernel(), stride=model.patch)
    for block in range(len(model.rotations)):
        turn, mix = model.rotations[block], model.mixings[block]
        x = F.conv2d(x + model.positions[block].to(x.dtype), turn[:, :, None, None])
        parts = [x[:, i * c : (i + 1) * c].roll(step, dim) for i, (dim, step) in enumerate(MOVES)]
        x = F.conv2d(torch.cat([*parts, x[:, 4 * c :]], dim=1), turn.T[:, :, None, None])
        x = F.conv2d(x, mix[:, :, None, None], model.bias[block])
        x = torch.cat([x[:, :k].abs(), x[:, k:]], dim=1)
    return L2Pool(model.map_size).apply(x.float()).flatten(1)


class PlainAdam:
    """Of orthogonal matrices: moments per matrix, the exact exponential."""

    def __init__(self, model: LipNeXt, rate: float) -> None:
        self.stacks = [model.embedding.data[None], model.rotations.data, model.mixings.data]
        self.parameters = [model.embedding, model.rotations, model.mixings]
        self.moments = [(torch.zeros_like(stack), torch.zeros_like(stack)) for stack in self.stacks]
        self.rate, self.count = rate, 0

    @torch.no_grad()
    def step(self) -> None:
        self.count += 1
        for parameter, stack, (mean, square) in zip(self.parameters, self.stacks, self.moments, strict=True):
            assert parameter.grad is not None
            gradients = parameter.grad.view_as(stack)
            for index, matrix in enumerate(stack):
                product = matrix.T @ gradients[index]
                tangent = (product - product.T) / 2
                mean[index].mul_(0.9).add_(0.1 * tangent)
                square[index].mul_(0.999).add_(0.001 * tangent**2)
                m, v = mean[index] / (1 - 0.9**self.count), square[index] / (1 - 0.999**self.count)
                step = (-self.rate * m / (v.sqrt() + 1e-8)).double()
                matrix.copy_(matrix.double() @ torch.linalg.matrix_exp(step))


def plain_step(
    config: TrainConfig, state: TrainState, matrices: PlainAdam, others: torch.optim.Optimizer, x: Tensor, y: Tensor
) -> Tensor:
    model = state.model
    assert isinstance(model, LipNeXt)
    with torch.autocast(x.device.type, dtype=torch.bfloat16, enabled=config.bfloat16 is True):
        logits = model.head(plain_features(model, x.contiguous(memory_format=torch.channels_last)))
    rows = model.head.merged_weight()
    pair = (rows[:, None] - rows + 1e-12).norm(dim=2)
    loss = emma_loss(logits.float(), y, pair_lipschitz=pair, eps=EPS)
    model.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), config.gradient_clip)
    others.step()
    matrices.step()
    return loss.detach()


def fresh(options: argparse.Namespace) -> tuple[TrainConfig, TrainState]:
    """The same weights for both."""
    sizes = {"depth": options.depth, "width": options.width, "patch": options.patch}
    values = {"dataset": "cifar10", "model": {"architecture": "lipnext", **sizes}, "eps": EPS, "epochs": 1}
    values |= {"batch_size": options.batch, "weight_decay": 0.0, "device": options.device}
    config = TrainConfig.model_validate({**values, "bfloat16": options.bfloat16})
    state = initial_state(config, input_shape=(3, 32, 32), num_classes=10)
    state.model.train()
    return config, state


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in {"width": 128, "depth": 6, "patch": 4, "batch": 128, "threads": 1}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--bfloat16", action="store_true")
    parser.add_argument("--seconds", type=float, default=10.0)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    device = torch.device(options.device)
    x = torch.rand(options.batch, 3, 32, 32).to(device)
    y = torch.randint(0, 10, (options.batch,)).to(device)
    config, ours = fresh(options)
    _, plain = fresh(options)
    assert isinstance(plain.model, LipNeXt)
    others = torch.optim.AdamW(
        [plain.model.positions, plain.model.bias, *plain.model.head.parameters()], weight_decay=0
    )
    steps = {
        "plain": partial(plain_step, config, plain, PlainAdam(plain.model, config.learning_rate), others, x, y),
        "ours": partial(train_step, config, ours, x, y, EPS),
    }
    losses = [float(step().flatten()[0]) for step in steps.values()]
    apart = max(
        float((a - b).detach().abs().max())
        for a, b in zip(ours.model.parameters(), plain.model.parameters(), strict=True)
    )
    print(f"first losses {losses[0]:.6f} and {losses[1]:.6f}; weights after a step differ by {apart:.1e}")
    seconds = {name: seconds_per_step(step, device, options.seconds) for name, step in steps.items()}
    update = seconds_per_step(ours.optimiser.step, device, min(3.0, options.seconds))
    for name, taken in seconds.items():
        print(f"{name:6} {options.batch / taken:8.0f} images/s  {seconds['plain'] / taken:.2f}x")
    print(f"the update of all parameters: {100 * update / seconds['ours']:.1f} % of our step")
    if device.type == "cuda":
        print(f"peak {torch.cuda.max_memory_allocated(device) / 2**30:.2f} GiB, both of them in memory")


if __name__ == "__main__":
    main()
