"""Training throughput: our step against a plain, unmerged float32 formulation of the same step, in one run.

The plain formulation computes each residual block as x + scale * gamma * conv(x, K), MinMax from
split, where and cat, one power iteration per block after the other, and head distances as a
(K, K, D) tensor. Both start from the same weights and see the same batch; their losses are compared
before they are timed in turns. On a GPU `busy` is the share of a step's time in which one of its kernels runs.

usage: python benchmarks/training_step.py [--width 64] [--depth 6] [--batch 256] [--threads 2] [--json FILE]
       python benchmarks/training_step.py --device cuda --architecture liresnet --depth 12 --width 512 \\
           --dense-width 512 --steps "ours bfloat16" --json FILE
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from functools import partial
from statistics import median
from typing import Any

import torch
import torch.nn.functional as F
from device_time import busy_share, seconds_in_turns, seconds_per_step
from plain_families import feature_norm, liresnet_pp, start_vectors
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode
from written_results import RESULTS, add_json_option, row, write_results

from lip_plugin.losses import emma_loss
from lip_plugin.models import LiResNetPP
from lip_plugin.models.architecture import architecture_class
from lip_plugin.train.config import TrainConfig
from lip_plugin.train.estimates import feature_lipschitz_estimate
from lip_plugin.train.precision import computes_in_bfloat16
from lip_plugin.train.state import TrainState, initial_state
from lip_plugin.train.step import train_step

EPS = 36 / 255
STEPS = ("plain float32", "ours float32", "ours bfloat16")


def plain_step(config: TrainConfig, state: TrainState, vectors: list[Tensor], x: Tensor, y: Tensor) -> Tensor:
    model = state.model
    assert isinstance(model, LiResNetPP)
    rows = model.head.merged_weight()
    logits = F.linear(liresnet_pp(model, x), rows, model.head.bias)
    pair = feature_norm(model, vectors) * (rows[:, None] - rows + 1e-12).norm(dim=2)
    loss = emma_loss(logits, y, pair_lipschitz=pair, eps=EPS)
    state.optimiser.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), config.gradient_clip)
    state.optimiser.step()
    return loss.detach()


def fresh(options: argparse.Namespace, name: str) -> tuple[TrainConfig, TrainState]:
    """The same weights for every kind of step."""
    settings = architecture_class(options.architecture).model_fields
    sizes = {key: value for key, value in vars(options).items() if key in settings}
    values = {"dataset": "cifar10", "model": sizes, "eps": EPS, "epochs": 1, "batch_size": options.batch}
    config = TrainConfig.model_validate({**values, "bfloat16": name.endswith("bfloat16"), "device": options.device})
    state = initial_state(config, input_shape=(3, 32, 32), num_classes=10)
    state.model.train()
    return config, state


def steps_of(
    options: argparse.Namespace, names: Sequence[str], x: Tensor, y: Tensor
) -> dict[str, Callable[[], Tensor]]:
    """Each kind of step, from the same fresh weights."""
    found: dict[str, Callable[[], Tensor]] = {}
    for name in names:
        config, state = fresh(options, name)
        plain = partial(plain_step, config, state, start_vectors(state.model), x, y)
        found[name] = plain if name.startswith("plain") else partial(train_step, config, state, x, y, EPS)
    return found


def measured(options: argparse.Namespace, names: Sequence[str], x: Tensor, y: Tensor) -> list[dict[str, Any]]:
    """A row for each kind of step, all taking turns."""
    steps, first, flops = steps_of(options, names, x, y), dict[str, float](), dict[str, int]()
    for name, step in steps.items():
        with FlopCounterMode(display=False) as counter:
            first[name] = float(step().flatten()[0])
        flops[name] = counter.get_total_flops()
    times = seconds_in_turns([*steps.values()], x.device, options.seconds * len(names), warm_up=1)
    seconds = {name: median(taken) for name, taken in zip(names, times, strict=True)}
    on_gpu = x.device.type == "cuda"
    peak = torch.cuda.max_memory_allocated(x.device) / 2**30 if on_gpu else None
    return [
        row(
            f"training step L{options.depth} W{options.width} B{len(x)}, {name}",
            taken,
            STEPS[0],
            seconds.get(STEPS[0]),
            step=name,
            first_loss=first[name],
            images_per_second=len(x) / taken,
            busy=busy_share(steps[name], x.device, taken),
            tflop_per_second=flops[name] / taken / 1e12,
            peak_gib=peak,
        )
        for name, taken in seconds.items()
    ]


def show(results: list[dict[str, Any]]) -> None:
    for result in results:
        speed, busy, rate = result["images_per_second"], 100 * result["busy"], result["tflop_per_second"]
        print(
            f"{result['step']:14} {speed:8.0f} images/s  {speed / results[0]['images_per_second']:.2f}x  "
            f"first loss {result['first_loss']:.4f}, busy {busy:.0f} %, {rate:.3g} TFLOP/s"
        )


def show_share_of_the_bound(options: argparse.Namespace, step_seconds: float) -> None:
    _, state = fresh(options, "ours float32")
    estimate = partial(feature_lipschitz_estimate, state.model, state.estimates)
    seconds = seconds_per_step(estimate, torch.device(options.device), min(3.0, options.seconds))
    print(f"bound estimate: {100 * seconds / step_seconds:.1f} % of our step")


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--architecture", default="liresnet_pp", choices=("liresnet", "liresnet_pp"))
    sizes = {"width": 64, "depth": 6, "dense-width": 256, "dense-depth": 4, "batch": 256, "threads": 2}
    for name, default in sizes.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--steps", nargs="+", choices=STEPS, help="default: those that architecture and device have")
    parser.add_argument("--seconds", type=float, default=15.0)
    add_json_option(parser)
    return parser.parse_args()


def main() -> None:
    options = parsed()
    torch.set_num_threads(options.threads)
    device = torch.device(options.device)
    emulated = not computes_in_bfloat16(device)
    names = options.steps or [
        name
        for name in STEPS
        if not (name.startswith("plain") and options.architecture == "liresnet")
        and not (name.endswith("bfloat16") and emulated)
    ]
    x = torch.rand(options.batch, 3, 32, 32).to(device)
    y = torch.randint(0, 10, (options.batch,)).to(device)
    results = measured(options, names, x, y)
    show(results)
    if options.steps is None and emulated:
        print("ours bfloat16  not measured: this device has no bfloat16 instructions and would emulate them")
    show_share_of_the_bound(options, results[-1]["seconds"])
    sizes = f"L{options.depth}_W{options.width}_B{options.batch}"
    settings = {key: value for key, value in vars(options).items() if key not in ("json", "steps", "device", "threads")}
    path = options.json or RESULTS / f"training_step_{sizes}.json"
    write_results(path, results, device=device, **settings)


if __name__ == "__main__":
    main()
