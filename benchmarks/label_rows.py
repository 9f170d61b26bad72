"""EMMA at many classes: head distances for the labels alone against the (batch, K, D) tensor of the published form.

Both compute the same loss and head gradient, which are compared before anything is timed.

usage: python benchmarks/label_rows.py [--classes 1000] [--width 2048] [--batch 256] [--threads 1] [--json FILE]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from statistics import median

import torch
import torch.nn.functional as F
from device_time import seconds_in_turns
from torch import Tensor
from written_results import RESULTS, add_json_option, row, write_results

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
    sizes = {"classes": 1000, "width": 2048, "batch": 256, "threads": 1}
    for name, default in sizes.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    add_json_option(parser)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    weight = torch.randn(options.classes, options.width, requires_grad=True)
    features, labels = torch.randn(options.batch, options.width), torch.randint(0, options.classes, (options.batch,))
    steps = [partial(loss_and_gradient, form, weight, features, labels) for form in (published, ours)]
    (loss_a, gradient_a), (loss_b, gradient_b) = (step() for step in steps)
    print(f"largest differences: loss {float((loss_a - loss_b).abs()):.1e}, ", end="")
    print(f"gradient {float((gradient_a - gradient_b).abs().max() / gradient_a.abs().max()):.1e} relative")
    peer, seconds = (median(t) for t in seconds_in_turns(steps, weight.device, 0.0, warm_up=0, least=3))
    size = 4 * options.batch * options.classes * options.width / 2**30
    print(f"published {1000 * peer:.1f} ms, ours {1000 * seconds:.1f} ms")
    print(f"ratio {peer / seconds:.1f}x; the tensor that is not built has {size:.2f} GiB")
    what = f"EMMA loss and backward, K={options.classes} D={options.width} B={options.batch}"
    rows = [row(what, seconds, "the published form, a (B, K, D) tensor", peer)]
    write_results(options.json or RESULTS / "label_rows.json", rows)


if __name__ == "__main__":
    main()
