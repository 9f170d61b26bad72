"""MinMax as one autograd function against the same thing from torch.maximum and torch.minimum, in one run.

usage: python benchmarks/minmax.py
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.utils.benchmark import Timer

from lip_plugin.network import minmax


def plain_minmax(x: Tensor) -> Tensor:
    a, b = x.chunk(2, dim=1)
    return torch.cat([torch.maximum(a, b), torch.minimum(a, b)], dim=1)


def main() -> None:
    x = torch.randn(256, 64, 16, 16, requires_grad=True)
    seconds: dict[str, float] = {}
    for name, function in (("plain", plain_minmax), ("one function", minmax)):
        timer = Timer("torch.autograd.grad(f(x).sum(), x)", globals={"torch": torch, "f": function, "x": x})
        seconds[name] = timer.blocked_autorange(min_run_time=2.0).median
        print(f"{name:13} {1000 * seconds[name]:8.2f} ms forward and backward, {tuple(x.shape)}")
    print(f"ratio {seconds['plain'] / seconds['one function']:.2f}x")


if __name__ == "__main__":
    main()
