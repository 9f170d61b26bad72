"""EMMA at many classes: head distances for the labels alone against the (batch, K, D) tensor of the published form.

Both compute the same loss and head gradient, which are compared before anything is timed.

usage: python benchmarks/label_rows.py [--classes 1000] [--width 2048] [--batch 256]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from lip_plugin.losses import emma_loss
from lip_plugin.train.row_distances import row_distances

Distances = Callable[[Tensor, Tensor], Tensor]


def published(rows: Tensor, labels: Tensor) -> Tensor:
    """(B, K) through a (B, K, D) tensor."""
    return (rows[labels][:, None] - rows[None]).square().sum(2).clamp_min(1e-20).sqrt()


def ours(rows: Tensor, labels: Tensor) -> Tensor:
    return row_distances(rows[labels], rows)


def loss_and_gradient(distances: Distances, weight: Tensor, features: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    rows = F.normalize(weight, dim=1)
    loss = emma_loss(features @ rows.T, labels, pair_lipschitz=2.0 * distances(rows, labels), eps=0.1)
    return loss.detach(), torch.autograd.grad(loss, weight)[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("classes", 1000), ("width", 2048), ("batch", 256)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    torch.manual_seed(0)
    weight = torch.randn(options.classes, options.width, requires_grad=True)
    features, labels = torch.randn(options.batch, options.width), torch.randint(0, options.classes, (options.batch,))
    seconds: dict[str, float] = {}
    results: list[tuple[Tensor, Tensor]] = []
    for name, distances in (("published", published), ("ours", ours)):
        results.append(loss_and_gradient(distances, weight, features, labels))
        times: list[float] = []
        for _ in range(3):
            started = time.perf_counter()
            loss_and_gradient(distances, weight, features, labels)
            times.append(time.perf_counter() - started)
        seconds[name] = sorted(times)[1]
        print(f"{name:10} {1000 * seconds[name]:9.1f} ms, loss {float(results[-1][0]):.6f}")
    (loss_a, gradient_a), (loss_b, gradient_b) = results
    print(f"largest differences: loss {float((loss_a - loss_b).abs()):.1e}, ", end="")
    print(f"gradient {float((gradient_a - gradient_b).abs().max() / gradient_a.abs().max()):.1e} relative")
    size = 4 * options.batch * options.classes * options.width / 2**30
    print(f"ratio {seconds['published'] / seconds['ours']:.1f}x; the tensor that is not built has {size:.2f} GiB")


if __name__ == "__main__":
    main()
