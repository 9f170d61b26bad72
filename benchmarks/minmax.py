"""MinMax as one autograd function against the same thing from torch.maximum and torch.minimum, in one run.

usage: python benchmarks/minmax.py [--threads 1] [--json FILE]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from statistics import median

import torch
from device_time import seconds_in_turns
from torch import Tensor
from written_results import RESULTS, add_json_option, row, write_results

from lip_plugin.network import minmax

SHAPE = (256, 64, 16, 16)


def plain_minmax(x: Tensor) -> Tensor:
    a, b = x.chunk(2, dim=1)
    return torch.cat([torch.maximum(a, b), torch.minimum(a, b)], dim=1)


def there_and_back(function: Callable[[Tensor], Tensor], x: Tensor, grad: Tensor) -> Tensor:
    return torch.autograd.grad(function(x), x, grad)[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    add_json_option(parser)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    rows: list[dict[str, object]] = []
    for dtype in (torch.float32, torch.bfloat16):
        x, grad = torch.randn(SHAPE, dtype=dtype, requires_grad=True), torch.randn(SHAPE, dtype=dtype)
        steps = [partial(there_and_back, function, x, grad) for function in (plain_minmax, minmax)]
        plain, ours = (median(times) for times in seconds_in_turns(steps, x.device, 2.0))
        what = f"MinMax forward and backward, {SHAPE}, {str(dtype).removeprefix('torch.')}"
        rows.append(row(what, ours, "torch.maximum and torch.minimum", plain))
        print(f"{what}: plain {1000 * plain:.2f} ms, one function {1000 * ours:.2f} ms, ratio {plain / ours:.2f}x")
    write_results(options.json or RESULTS / "minmax.json", rows)


if __name__ == "__main__":
    main()
