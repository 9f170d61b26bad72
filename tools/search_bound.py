"""An adversary of the Lipschitz upper bounds: gradient ascent on weights for a true norm above the proved bound.

Every trial draws a convolution (kernel, stride, padding, dilation, map) and climbs

    log (largest singular value of the explicit layer) - log (largest singular value of a circulant that holds it)

which is what the general rule stands on. The end point is judged by that rule itself (the rule that a network's
layer would get is tighter on such small layers): explicit singular values in float64 over the proved bound. A
ratio above 1 would be a wrong proof; exit code 1. With --unsound the judge is the circulant of the map's own
size, as published code has it: the same search must find ratios above 1, or it could not find anything.

usage: python tools/search_bound.py [--minutes 30 | --trials N] [--seed 0] [--unsound] [--steps 60]
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from lip_plugin.bounds import general_conv_norm_upper_bound

TOLERANCE = 1e-12
"""Of the singular values themselves: LAPACK's error is a few units of 2^-53."""


@dataclass(frozen=True)
class Layer:
    """A zero-padded convolution of float64 weights, the same setting in both directions."""

    outputs: int
    inputs: int
    kernel: int
    size: int
    stride: int
    padding: int
    dilation: int

    def apply(self, weight: Tensor, x: Tensor) -> Tensor:
        return F.conv2d(x, weight, None, self.stride, self.padding, self.dilation)

    @property
    def is_worth_it(self) -> bool:
        """The kernel fits the padded map and its windows overlap; else every bound is exact."""
        reach = self.dilation * (self.kernel - 1)
        return self.size + 2 * self.padding > reach and self.stride <= reach

    def matrix(self, weight: Tensor) -> Tensor:
        """The explicit operator, transposed: a row per input pixel."""
        pixels = self.inputs * self.size**2
        unit = torch.eye(pixels, dtype=torch.float64).view(pixels, self.inputs, self.size, self.size)
        return self.apply(weight, unit).flatten(1)


def draw_layer(generator: torch.Generator) -> Layer:
    """Small enough for singular values, of every geometry that the bounds treat apart."""

    def pick(low: int, high: int) -> int:
        return int(torch.randint(low, high + 1, (), generator=generator))

    while True:
        kernel = pick(2, 5)
        layer = Layer(
            pick(1, 4), pick(1, 4), kernel, pick(3, 10), pick(1, 3), pick(0, kernel), 1 if kernel > 3 else pick(1, 2)
        )
        if layer.is_worth_it:
            return layer


def largest_symbol(layer: Layer, weight: Tensor, grid: int) -> Tensor:
    """The norm of the layer on a periodic map of side ``grid``, a multiple of the stride; differentiable.

    A stride s folds s x s frequencies into one: their symbols side by side, over s.
    """
    side = layer.dilation * (layer.kernel - 1) + 1
    spread = weight.new_zeros(layer.outputs, layer.inputs, side, side)
    spread[:, :, :: layer.dilation, :: layer.dilation] = weight
    folded = weight.new_zeros(layer.outputs, layer.inputs, grid, grid)
    for i in range(side):
        for j in range(side):
            folded[:, :, i % grid, j % grid] = folded[:, :, i % grid, j % grid] + spread[:, :, i, j]
    symbol = torch.fft.fft2(folded).unflatten(3, (layer.stride, -1)).unflatten(2, (layer.stride, -1))
    aliased = symbol.permute(3, 5, 0, 1, 2, 4).flatten(3)  # (frequencies, frequencies, outputs, inputs s s)
    return torch.linalg.svdvals(aliased)[..., 0].max() / layer.stride


def proved_bound(layer: Layer, weight: Tensor) -> float:
    padding = layer.padding
    return general_conv_norm_upper_bound(
        weight,
        input_size=(layer.size, layer.size),
        stride=(layer.stride, layer.stride),
        padding=(padding, padding, padding, padding),
        dilation=(layer.dilation, layer.dilation),
    ).value


def climb(layer: Layer, generator: torch.Generator, steps: int, grid: int) -> Tensor:
    """Weights after gradient ascent on the ratio of the true norm to the largest symbol."""
    shape = (layer.outputs, layer.inputs, layer.kernel, layer.kernel)
    weight = torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_(True)
    optimiser = torch.optim.Adam([weight], lr=0.05)
    for _ in range(steps):
        true = torch.linalg.matrix_norm(layer.matrix(weight), 2)
        loss = largest_symbol(layer, weight, grid).log() - true.log()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return weight.detach()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30.0, help="CPU minutes of this process")
    parser.add_argument("--trials", type=int, help="stop after so many instead")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--unsound", action="store_true", help="judge the circulant of the map's own size instead")
    options = parser.parse_args()
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(options.seed)
    best, worst_layer, trials = 0.0, None, 0
    while trials < options.trials if options.trials else time.process_time() < 60 * options.minutes:
        layer = draw_layer(generator)
        if options.unsound and layer.stride > 1:
            continue
        needed = layer.size if options.unsound else layer.size + layer.padding + layer.dilation * (layer.kernel - 1)
        grid = -(-needed // layer.stride) * layer.stride
        weight = climb(layer, generator, options.steps, grid)
        bound = float(largest_symbol(layer, weight, grid)) if options.unsound else proved_bound(layer, weight)
        ratio = float(torch.linalg.svdvals(layer.matrix(weight))[0]) / bound
        trials += 1
        if ratio > best:
            best, worst_layer = ratio, layer
            print(f"trial {trials}: true norm / bound {ratio:.15f} at {layer}", flush=True)
    verdict = "FAILED" if best > 1 + TOLERANCE else "ok"
    spent = time.process_time() / 60
    print(f"{verdict}: {trials} trials in {spent:.1f} CPU minutes, best {best:.15f} at {worst_layer}")
    return 1 if best > 1 + TOLERANCE else 0


if __name__ == "__main__":
    sys.exit(main())
