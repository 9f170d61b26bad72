"""Conventional against linear residual blocks: how far the proved bound lies above the constant of the network.

A conventional block x + W2 relu(W1 x) has Lip <= 1 + |W1| |W2| and no better bound by norms; a linear one, x + W x with
the non-linearity after it, is a convolution by I + W whose norm is proved within 1 % (Hu et al., NeurIPS 2023,
arXiv 2301.12549). Both begin from torch's own initialisation, `--width` channels on maps of `--size`.
The constant itself lies between the largest stretch of a pair of points that a search finds, which is proved, and the
bound; what is printed is the bound over that stretch, at least the looseness of the bound and the search together.

usage: python benchmarks/residual_blocks.py [--blocks 12] [--width 8] [--size 8] [--seeds 3] [--plot FILE.svg]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

import lip_plugin as lp
from lip_plugin.network import Activation, Conv, Flatten, Head, MinMax, Operator, Residual

SAME = (1, 1, 1, 1)
Block = Callable[[int], list[Operator]]


def drawn(width: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Weight and bias of a 3x3 convolution as torch initialises them, in float64."""
    layer = nn.Conv2d(width, width, 3)
    assert layer.bias is not None
    return layer.weight.detach().double(), layer.bias.detach().double()


def conventional(width: int) -> list[Operator]:
    """x + W2 relu(W1 x)"""
    return [Residual((Conv(*drawn(width), padding=SAME), Activation("relu"), Conv(*drawn(width), padding=SAME)))]


def linear(width: int) -> list[Operator]:
    """MinMax(x + W x)"""
    weight, bias = drawn(width)
    weight[:, :, 1, 1] += torch.eye(width, dtype=torch.float64)
    return [Conv(weight, bias, padding=SAME), MinMax()]


def network(block: Block, blocks: int, width: int, size: int, seed: int) -> lp.CertifiedClassifier:
    """Of ``blocks`` blocks; the same seed gives the same first ones."""
    torch.manual_seed(seed)
    layers = [layer for _ in range(blocks) for layer in block(width)]
    head = Head(torch.eye(2, width * size**2, dtype=torch.float64))
    return lp.CertifiedClassifier([*layers, Flatten()], head, input_shape=(width, size, size))


def looseness(block: Block, blocks: int, width: int, size: int, seed: int) -> tuple[float, float]:
    """(bound, bound over the largest stretch found)."""
    model = network(block, blocks, width, size, seed)
    x = torch.rand(8, *model.input_shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    found = lp.audit_lipschitz(model, x, steps=60, seed=seed)
    return found.upper_bound, found.upper_bound / found.lower_bound


def draw(rows: dict[str, list[float]], path: Path) -> None:
    from matplotlib.ticker import MaxNLocator, StrMethodFormatter

    from lip_plugin.report.plots.style import ATTACKED, PROVED, new_axes, plot_style

    with plot_style():
        figure, axes = new_axes(3.2)
        for (name, values), colour in zip(rows.items(), (ATTACKED, PROVED), strict=True):
            axes.plot(range(1, len(values) + 1), values, color=colour, marker="o", markersize=4, label=name)
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel("residual blocks")
        axes.set_ylabel("proved bound / stretch found")
        axes.legend()
        figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("blocks", 12), ("width", 8), ("size", 8), ("seeds", 3)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--plot", type=Path)
    options = parser.parse_args()
    kinds: dict[str, Block] = {"x + W2 relu(W1 x)": conventional, "MinMax(x + W x)": linear}
    rows: dict[str, list[float]] = {name: [] for name in kinds}
    print(f"{'blocks':>6}" + "".join(f"{name + ': bound':>28}{'over found':>12}" for name in kinds))
    for blocks in range(1, options.blocks + 1):
        line = f"{blocks:6}"
        for name, block in kinds.items():
            drawn_ones = [looseness(block, blocks, options.width, options.size, seed) for seed in range(options.seeds)]
            bound, ratio = (sorted(values)[len(values) // 2] for values in zip(*drawn_ones, strict=True))
            rows[name].append(ratio)
            line += f"{bound:28.4g}{ratio:12.4g}"
        print(line, flush=True)
    if options.plot:
        draw(rows, options.plot)


if __name__ == "__main__":
    main()
