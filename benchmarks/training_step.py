"""Training throughput: our step against a plain, unmerged float32 formulation of the same step, in one run.

The plain formulation computes each residual block as x + scale * gamma * conv(x, K), MinMax from
split, where and cat, one power iteration per block after the other, and head distances as a
(K, K, D) tensor. Both start from the same weights and see the same batch; their losses are compared
before anything is timed.

usage: python benchmarks/training_step.py [--width 64] [--depth 6] [--batch 256] [--threads 2]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from lip_plugin.losses import emma_loss
from lip_plugin.models import LiResNetPP
from lip_plugin.train.config import TrainConfig
from lip_plugin.train.estimates import STEPS_PER_UPDATE, feature_lipschitz_estimate
from lip_plugin.train.precision import computes_in_bfloat16
from lip_plugin.train.state import TrainState, initial_state
from lip_plugin.train.step import train_step

EPS = 36 / 255


def plain_minmax(x: Tensor) -> Tensor:
    a, b = x.split(x.shape[1] // 2, dim=1)
    larger = a > b
    return torch.cat([torch.where(larger, a, b), torch.where(larger, b, a)], dim=1)


def plain_features(model: LiResNetPP, x: Tensor) -> Tensor:
    """The feature path in training mode, branch and skip apart."""
    stack, stem, neck = model.backbone, model.stem, model.neck
    x = plain_minmax(F.conv2d(x - 0.5, stem.conv.weight, stem.conv.bias, stem.conv.stride, stem.conv.padding))
    for block in range(stack.depth):
        gain = stack.depth**-0.5 * stack.gamma[block].flatten()[:, None, None]
        branch = gain * F.conv2d(x, stack.weights[block], padding=1)
        branch = branch - branch.mean((0, 2, 3), keepdim=True)
        x = plain_minmax(x + branch + stack.bias[block][:, None, None])
    x = F.conv2d(x, neck.merged_kernel(), stride=neck.patch)
    x = plain_minmax(F.linear(x.flatten(1), neck.merged_weight(), neck.bias))
    for weight, bias in zip(model.dense.merged_weights(), model.dense.bias, strict=True):
        x = plain_minmax(F.linear(x, weight, bias))
    return x


def plain_feature_norm(model: LiResNetPP, vectors: list[Tensor]) -> Tensor:
    """Warm-started power iteration, one map after the other."""
    product = torch.ones(())
    for index, linear_map in enumerate(model.estimated_maps()):
        with torch.no_grad():
            for _ in range(STEPS_PER_UPDATE):
                image = F.conv2d(
                    vectors[index], linear_map.weight, stride=linear_map.stride, padding=linear_map.padding
                )
                size = vectors[index].shape[-1]
                extra = size - (
                    (image.shape[-1] - 1) * linear_map.stride - 2 * linear_map.padding + linear_map.weight.shape[-1]
                )
                back = F.conv_transpose2d(image, linear_map.weight, None, linear_map.stride, linear_map.padding, extra)
                vectors[index] = back / back.norm()
        image = F.conv2d(vectors[index], linear_map.weight, stride=linear_map.stride, padding=linear_map.padding)
        product = product * image.norm()
    return product


def plain_step(config: TrainConfig, state: TrainState, vectors: list[Tensor], x: Tensor, y: Tensor) -> Tensor:
    model = state.model
    assert isinstance(model, LiResNetPP)
    rows = model.head.merged_weight()
    logits = F.linear(plain_features(model, x), rows, model.head.bias)
    pair = plain_feature_norm(model, vectors) * (rows[:, None] - rows + 1e-12).norm(dim=2)
    loss = emma_loss(logits, y, pair_lipschitz=pair, eps=EPS)
    state.optimiser.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), config.gradient_clip)
    state.optimiser.step()
    return loss.detach()


def images_per_second(step: Callable[[], object], batch: int, seconds: float) -> float:
    """Median over steps, after a warm-up."""
    for _ in range(3):
        step()
    times: list[float] = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times) < 5:
        started = time.perf_counter()
        step()
        times.append(time.perf_counter() - started)
    return batch / sorted(times)[len(times) // 2]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("width", 64), ("depth", 6), ("batch", 256), ("threads", 2)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--seconds", type=float, default=15.0)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    sizes = {"depth": options.depth, "width": options.width, "dense_width": 256, "dense_depth": 4}
    values = {"dataset": "cifar10", "model": sizes, "eps": EPS, "epochs": 1, "batch_size": options.batch}

    def fresh(bfloat16: bool) -> tuple[TrainConfig, TrainState]:
        config = TrainConfig.model_validate({**values, "bfloat16": bfloat16})
        state = initial_state(config, input_shape=(3, 32, 32), num_classes=10)
        state.model.train()
        return config, state

    x, y = torch.rand(options.batch, 3, 32, 32), torch.randint(0, 10, (options.batch,))
    config, state = fresh(False)
    maps = state.model.estimated_maps()
    vectors = [torch.randn(1, m.weight.shape[1], *(m.input_size or (1, 1))) for m in maps]
    losses = [float(plain_step(config, state, vectors, x, y))]
    results = {
        "plain float32": images_per_second(lambda: plain_step(config, state, vectors, x, y), len(x), options.seconds)
    }
    in_bfloat16 = computes_in_bfloat16(torch.device("cpu"))
    for name, bfloat16 in (("ours float32", False), ("ours bfloat16", True))[: 1 + in_bfloat16]:
        config, state = fresh(bfloat16)
        losses.append(float(train_step(config, state, x, y, EPS)[0]))
        results[name] = images_per_second(partial(train_step, config, state, x, y, EPS), len(x), options.seconds)
    print(f"first losses ({', '.join(results)}):", ", ".join(f"{loss:.4f}" for loss in losses))
    for name, speed in results.items():
        print(f"{name:14} {speed:8.0f} images/s  {speed / results['plain float32']:.2f}x")
    if not in_bfloat16:
        print("ours bfloat16  not measured: this CPU has no bfloat16 instructions and would emulate them")
    step_seconds = options.batch / results["ours float32"]
    config, state = fresh(False)
    estimate = images_per_second(lambda: feature_lipschitz_estimate(state.model, state.estimates), 1, 3.0)
    print(f"bound estimate: {100 / estimate / step_seconds:.1f} % of our float32 step")


if __name__ == "__main__":
    main()
