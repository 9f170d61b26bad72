"""What `lip_plugin.cost` says of sizes that fit on a CPU, beside what they take: seconds and bytes, with the errors.

Estimated seconds are operations over the speed of this machine, which is that of one product of square matrices in each
dtype, measured first. So they are from below where a network runs slower than one large product, as all do. Seconds are
those of the CPU, in one thread, medians of all repetitions in a time: other work on the machine counts little.

usage: python benchmarks/cost_model.py [--seconds 2] [--json FILE]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch
from step_memory import peak_bytes
from written_results import RESULTS, add_json_option, row, write_results

import lip_plugin as lp
from lip_plugin.cost.flops import Flops, Speed, dtype_name, seconds_estimate
from lip_plugin.cost.network import cost_of_model
from lip_plugin.cost.step import step_cost
from lip_plugin.network import CertifiedClassifier
from lip_plugin.train.config import TrainConfig, load_config
from lip_plugin.train.state import TrainState, initial_state
from lip_plugin.train.step import train_step

CPU = torch.device("cpu")
SHAPE, CLASSES = (3, 32, 32), 10
_SIDE = 1024
_LEAST = 3


@dataclass(frozen=True)
class Case:
    recipe: str
    batch: int
    overrides: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        sizes = " ".join(override.removeprefix("model.") for override in self.overrides)
        return f"{self.recipe} {sizes} B{self.batch}".replace("  ", " ")


CASES = (
    Case("cifar10_small", 64, ("model.width=32",)),
    Case("cifar10_small", 64),
    Case("cifar10_small", 256),
    Case("cifar10_small", 64, ("model.depth=12",)),
    Case("cifar10_small", 32, ("model.width=256",)),
    Case("cifar10_small", 64, ("bfloat16=true",)),
    Case("cifar10_small_lipnext", 64),
    Case("cifar10_small_lipnext", 64, ("model.width=512",)),
    Case("cifar10_small_bronet", 64),
    Case("cifar10_comparison", 64, ("model.block=sll",)),
)


def cpu_seconds(work: Callable[[], object], seconds: float) -> float:
    """Median after a warm-up, of `_LEAST` repetitions or as many as there are in ``seconds``."""
    work()
    times: list[float] = []
    while sum(times) < seconds or len(times) < _LEAST:
        started = time.process_time()
        work()
        times.append(time.process_time() - started)
    return median(times)


def matrix_speed(seconds: float) -> Speed:
    """Operations a second of one large product in each dtype: what this machine achieves at best."""
    speed: dict[torch.dtype, float] = {}
    for dtype in (torch.bfloat16, torch.float32, torch.float64):
        a = torch.rand(_SIDE, _SIDE).to(dtype)
        speed[dtype] = 2 * _SIDE**3 / cpu_seconds(lambda a=a: a @ a, seconds)
    return speed


def measured(case: Case, speed: Speed, seconds: float) -> Iterator[dict[str, Any]]:
    """A training step, then forward, certificates and proof of what it freezes into."""
    config = load_config(case.recipe, ("bfloat16=false", *case.overrides))
    state = initial_state(config, input_shape=SHAPE, num_classes=CLASSES)
    x, y = torch.rand(case.batch, *SHAPE), torch.randint(0, CLASSES, (case.batch,))
    yield _training(case, config, state, x, y, speed, seconds)
    model = lp.freeze(state.model)
    cost, images = cost_of_model(model), len(x)
    if "bfloat16=true" in case.overrides:
        return  # the same network as without
    yield _beside(f"proof, {case.name}", _first_bound_seconds(model), cost.proof, speed)
    for what, flops, work in (
        ("forward", cost.forward, lambda: model(x)),
        ("certificates", cost.certificate, lambda: lp.certify(model, x)),
    ):
        with torch.no_grad():
            taken = cpu_seconds(work, seconds)
        yield _beside(f"{what}, {case.name}", taken, Flops({d: images * n for d, n in flops.items()}), speed)


def _training(
    case: Case, config: TrainConfig, state: TrainState, x: torch.Tensor, y: torch.Tensor, speed: Speed, seconds: float
) -> dict[str, Any]:
    cost = step_cost(config, input_shape=SHAPE, num_classes=CLASSES, batch=len(x))
    state.model.train()

    def step() -> object:
        return train_step(config, state, x, y, config.eps)

    def from_zero() -> None:
        state.optimiser.zero_grad()
        step()

    taken = cpu_seconds(step, seconds)
    state.optimiser.zero_grad()
    peak, estimate = peak_bytes(from_zero, CPU) + x.nbytes + y.nbytes, cost.peak - cost.lasting
    beside = _beside(f"training step, {case.name}", taken, cost.flops(len(x)), speed)
    return {**beside, "bytes": peak, "bytes_estimate": estimate, "bytes_error": 100 * (estimate / peak - 1)}


def _first_bound_seconds(model: CertifiedClassifier) -> float:
    """Once: a bound that was proved is kept under the bits of the weights."""
    started = time.process_time()
    lp.lipschitz_upper_bound(model)
    return time.process_time() - started


def _beside(what: str, taken: float, flops: Flops, speed: Speed) -> dict[str, Any]:
    estimate = seconds_estimate(flops, speed)
    operations = {dtype_name(dtype): count for dtype, count in flops.items()}
    return row(what, taken, "estimate", estimate, seconds_error=100 * (estimate / taken - 1), operations=operations)


def show(result: dict[str, Any]) -> None:
    memory = f", bytes {result['bytes_error']:+.1f} %" if "bytes" in result else ""
    print(
        f"{result['what']:70} {result['seconds']:9.4f} s, estimate {result['seconds_error']:+.0f} %{memory}", flush=True
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=2.0, help="for each measurement, at least")
    add_json_option(parser)
    options = parser.parse_args()
    torch.set_num_threads(1)
    speed = matrix_speed(options.seconds)
    named = {dtype_name(dtype): value for dtype, value in speed.items()}
    print("; ".join(f"{name} {value / 1e9:.0f} GFLOP/s" for name, value in named.items()))
    results: list[dict[str, Any]] = []
    for case in CASES:
        for result in measured(case, speed, options.seconds):
            show(result)
            results.append(result)
    write_results(options.json or RESULTS / "cost" / "model.json", results, seconds=options.seconds, speed=named)


if __name__ == "__main__":
    main()
