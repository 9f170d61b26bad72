"""Canaries: networks on which the certificate is the distance to the decision boundary, one or more per operator kind.

One operator stands before a linear head whose two rows differ along the operator's steepest output direction, and the
images lie a few hundredths from the boundary along its steepest input direction. A bound of that operator that is
too small by a per cent then makes radii that are too large by a per cent, and the library's own attacks (APGD-CE,
and in the audit FAB-T or APGD-T) must find a misclassified point inside them.

Printed for every canary: the certified radius of the closest call, the smallest adversarial distance found there,
their quotient, which is the smallest inflation of radii that is caught, and the rule that proved the bound. That the
audit raises just above this inflation, and at 1.01, is tried. Exit code 1 where it does not, or where an
attack breaks an honest certificate.

usage: python tools/canaries.py [NAME ...]
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

import lip_plugin as lp
from lip_plugin.evaluate import Report, Request, compare_certified, get_attack
from lip_plugin.network import operators as ops

LIMIT = 1.01
"""The inflation of radii that every canary must catch."""

Shape = tuple[int, int, int]


@dataclass(frozen=True)
class Canary:
    """Images x (N, C, H, W) in [0,1] with labels y, certified by ``model`` up to the boundary or nearly."""

    model: lp.CertifiedClassifier
    x: Tensor
    y: Tensor


@dataclass(frozen=True)
class Finding:
    """The closest call of an honest certificate: ``distance`` >= ``radius`` of one image."""

    radius: float
    distance: float

    @property
    def inflation(self) -> float:
        """Radii larger by more than this factor are caught."""
        return self.distance / self.radius


# -- networks -------------------------------------------------------------------------------------


def draw(*shape: int, seed: int = 0) -> Tensor:
    """Normal float64 numbers."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def sides(*shape: int, apart: float = 0.2) -> Tensor:
    """An image of 0.5 - apart and 0.5 + apart at random: far from the kinks at 0.5."""
    return 0.5 + apart * draw(*shape, seed=7).sign()


def steepest(function: Callable[[Tensor], Tensor], centre: Tensor) -> tuple[Tensor, Tensor]:
    """Unit directions (C, H, W) and (D,): the map's largest singular pair at a point, by central differences.

    Among several largest ones a random combination: an isometry is steep in every direction.
    """
    step = 1e-6
    unit = step * torch.eye(centre.numel(), dtype=torch.float64).view(-1, *centre.shape)
    columns = (function(centre + unit) - function(centre - unit)).flatten(1) / (2 * step)
    values, vectors = torch.linalg.eigh(columns @ columns.T)
    top = vectors[:, values >= values[-1] * (1 - 1e-7)]
    inward = top @ (top.T @ draw(centre.numel(), seed=3))
    outward = inward @ columns
    return (inward / inward.norm()).view_as(centre), outward / outward.norm()


def before_head(operators: Sequence[ops.Operator], centre: Tensor, step: float = 0.03) -> Canary:
    """The gap of the two logits is u . (h(x) - h(centre)); the images are centre + step v and centre - step v."""
    layers = [*operators]
    shape = tuple(centre.shape)
    for layer in layers:
        shape = layer.output_shape(shape)
    if len(shape) > 1:
        layers.append(ops.Flatten())

    def features(x: Tensor) -> Tensor:
        for layer in layers:
            x = layer.apply(x)
        return x

    v, u = steepest(features, centre)
    middle = features(centre[None])[0] @ u
    head = ops.Head(torch.stack([u, -u]) / 2, torch.stack([-middle, middle]) / 2)
    channels, height, width = centre.shape
    model = lp.CertifiedClassifier(layers, head, input_shape=(channels, height, width))
    return Canary(model, torch.stack([centre + step * v, centre - step * v]), torch.tensor([0, 1]))


def linear_head() -> Canary:
    """Five classes of a linear classifier, and an image whose nearest class is not its runner-up."""
    weight, bias = draw(5, 16, seed=1), draw(5, seed=2) / 20
    head = ops.Head(weight, bias - weight.sum(dim=1) / 2)
    x = 0.5 + 0.02 * draw(64, 1, 4, 4, seed=3)
    ordered = head.apply(x.flatten(1)).sort(dim=1, descending=True)
    apart = (weight[ordered.indices[:, :1]] - weight[ordered.indices[:, 1:]]).norm(dim=2)
    nearest = ((ordered.values[:, :1] - ordered.values[:, 1:]) / apart).argmin(dim=1)
    model = lp.CertifiedClassifier([ops.Flatten()], head, input_shape=(1, 4, 4))
    index = int((nearest > 0).nonzero()[0])
    return Canary(model, x[index : index + 1], ordered.indices[index : index + 1, 0])


def conv(*weight: int, size: int = 6, groups: int = 1, near_identity: float = 0.0, **settings: Any) -> Canary:
    """A random kernel (O, I / groups, kh, kw), or the identity plus a little of one, on a square map."""
    kernel = draw(*weight, seed=5)
    if near_identity:
        kernel *= near_identity
        kernel[:, :, weight[2] // 2, weight[3] // 2] += torch.eye(weight[0], dtype=torch.float64)
    layer = ops.Conv(kernel, draw(weight[0], seed=6), groups=groups, **settings)
    return before_head([layer], sides(weight[1] * groups, size, size))


def activation(function: str, parameter: float = 0.0, *, around: float = 0.2) -> Canary:
    """Entries at +-``around`` of the kink."""
    shift = ops.Offset(torch.tensor(-0.5, dtype=torch.float64))
    step = min(0.03, 1.5 * around)
    return before_head([shift, ops.Activation(function, parameter)], sides(1, 12, 12, apart=around), step)


def convex_potential(bias: float, scale: float) -> Canary:
    """Every hidden unit is on, or off, around the images: the step is linear there, and its constant is reached."""
    full = torch.full((3,), 1.0, dtype=torch.float64)
    return before_head([ops.ConvexPotential(draw(3, 2, 3, 3), bias * full, scale * full, (1, 1))], sides(2, 4, 4))


def max_pool(layer: ops.MaxPool, bright: tuple[int, int]) -> Canary:
    """One bright pixel that wins every window it is in; any other wins hardly more than one."""
    rows, columns = torch.meshgrid(torch.arange(7), torch.arange(7), indexing="ij")
    centre = (0.3 + 0.02 * rows + 0.03 * columns)[None].double()
    centre[0, bright[0], bright[1]] = 0.75
    return before_head([layer], centre)


def minmax() -> Canary:
    """Halves that lie apart, either one above."""
    half = sides(2, 3, 3)
    return before_head([ops.MinMax()], torch.cat([half, 1 - half]))


def ranked(channels: int, height: int, width: int) -> Tensor:
    """Channels that lie apart at every pixel, in an order of its own."""
    order = torch.stack(
        [torch.randperm(channels, generator=torch.Generator().manual_seed(i)) for i in range(height * width)]
    )
    return 0.2 + 0.6 * order.T.reshape(channels, height, width).double() / (channels - 1)


def by_frequency(rank: int, scale: float, **settings: Any) -> Canary:
    """Factors of random taps on a map of 6x6: those of opposite frequencies are conjugate."""
    spectrum = torch.fft.rfft2(scale * draw(3, rank, 6, 6, seed=8)).permute(2, 3, 0, 1)
    factor = torch.cat([spectrum.real, spectrum.imag], 2).contiguous()
    return before_head([ops.FrequencyConv(factor, **settings)], sides(3, 6, 6))


def by_matrices(outputs: int, *map_sides: int) -> Canary:
    """Matrices of random taps: those of opposite frequencies are conjugate."""
    spectrum = torch.fft.rfft2(draw(outputs, 3, *map_sides, seed=8)).permute(2, 3, 0, 1)
    matrix = torch.cat([spectrum.real, spectrum.imag], 2).contiguous()
    return before_head([ops.FrequencyMatrix(matrix)], sides(3, *map_sides))


SAME = (1, 1, 1, 1)
CANARIES: dict[str, Callable[[], Canary]] = {
    "head": linear_head,
    "flatten": lambda: before_head([ops.Flatten()], sides(3, 4, 4)),
    "offset": lambda: before_head([ops.Offset(draw(3))], sides(3, 4, 4)),
    "scale": lambda: before_head([ops.Scale(torch.tensor([0.3, -2.5, 1.0]).double())], sides(3, 4, 4)),
    "dense": lambda: before_head([ops.Flatten(), ops.Dense(draw(20, 48), draw(20, seed=1))], sides(3, 4, 4)),
    "dense, more rows than columns": lambda: before_head([ops.Flatten(), ops.Dense(draw(60, 27))], sides(3, 3, 3)),
    "minmax": minmax,
    "activation, relu": lambda: activation("relu"),
    "activation, abs": lambda: activation("abs"),
    "activation, leaky_relu": lambda: activation("leaky_relu", 0.1),
    "activation, leaky_relu steeper below": lambda: activation("leaky_relu", -1.5),
    "activation, elu": lambda: activation("elu", 1.0),
    "activation, elu steeper below": lambda: activation("elu", 2.0, around=0.002),
    "activation, tanh": lambda: activation("tanh", around=0.002),
    "activation, sigmoid": lambda: activation("sigmoid", around=0.002),
    "avg_pool": lambda: before_head([ops.AvgPool((2, 2), (2, 2))], sides(2, 6, 6)),
    "avg_pool, overlapping": lambda: before_head([ops.AvgPool((3, 3), (2, 1), (1, 0))], sides(2, 7, 6)),
    "max_pool": lambda: max_pool(ops.MaxPool((2, 2), (2, 2)), (2, 3)),
    "max_pool, overlapping": lambda: max_pool(ops.MaxPool((3, 3), (1, 1), (1, 1)), (3, 3)),
    "max_pool, stride 2": lambda: max_pool(ops.MaxPool((3, 3), (2, 2)), (4, 2)),
    "max_pool, dilated": lambda: max_pool(ops.MaxPool((2, 2), (1, 1), (0, 0), (2, 2)), (3, 3)),
    "l2_pool": lambda: before_head([ops.L2Pool((2, 2))], sides(2, 6, 6)),
    "pixel_unshuffle": lambda: before_head([ops.PixelUnshuffle(2)], sides(2, 6, 6)),
    "pixel_shuffle": lambda: before_head([ops.PixelShuffle(2)], sides(8, 3, 3)),
    "channel_shuffle": lambda: before_head([ops.ChannelShuffle(3)], sides(6, 3, 3)),
    "spatial_shift": lambda: before_head([ops.SpatialShift(1)], sides(5, 4, 4)),
    "partial_abs": lambda: before_head([ops.Offset(torch.tensor(-0.5).double()), ops.PartialAbs(2)], sides(3, 4, 4)),
    "offset, positions": lambda: before_head([ops.Offset(draw(1, 4, 4))], sides(3, 4, 4)),
    "gather": lambda: before_head([ops.Gather((2, 0, 2))], sides(3, 4, 4)),
    "group_sort": lambda: before_head([ops.GroupSort(3)], ranked(3, 4, 4)),
    "reshape": lambda: before_head([ops.Reshape((8, 2, 2))], sides(2, 4, 4)),
    "pad": lambda: before_head([ops.Pad((1, 2, 0, 1), "reflect")], sides(2, 4, 4)),
    "repeat": lambda: before_head([ops.Repeat((2, 1))], sides(2, 4, 4)),
    "prelu": lambda: before_head(
        [ops.Offset(torch.tensor(-0.5).double()), ops.PReLU(torch.tensor([0.2, -1.7]).double())], sides(2, 4, 4)
    ),
    "conv_transpose": lambda: before_head([ops.ConvTranspose(draw(2, 3, 3, 3), stride=(2, 2))], sides(2, 4, 4)),
    "concat": lambda: before_head([ops.Concat((ops.Scale(torch.tensor(2.5).double()),))], sides(2, 4, 4)),
    "convex_potential": lambda: convex_potential(30.0, 1.5),
    "convex_potential, no slope": lambda: convex_potential(-30.0, 0.01),
    "residual": lambda: before_head([ops.Residual((ops.Scale(torch.tensor(2.5).double()),))], sides(2, 4, 4)),
    "frequency_conv": lambda: by_frequency(2, 0.5),
    "frequency_conv, isometry": lambda: by_frequency(1, 1e-3),
    "frequency_matrix": lambda: by_matrices(3, 6, 6),
    "frequency_matrix, odd sides, fewer channels": lambda: by_matrices(2, 5, 3),
    "conv, patches": lambda: conv(5, 3, 2, 2, stride=(2, 2)),
    "conv, same": lambda: conv(3, 2, 3, 3, padding=SAME),
    "conv, stride 2": lambda: conv(4, 2, 3, 3, size=7, stride=(2, 2), padding=SAME),
    "conv, dilated": lambda: conv(3, 2, 3, 3, size=7, dilation=(2, 2), padding=(2, 2, 2, 2)),
    "conv, groups": lambda: conv(4, 2, 3, 3, groups=2, padding=SAME),
    "conv, uneven padding": lambda: conv(3, 2, 4, 4, padding=(2, 1, 0, 3)),
    "conv, circular": lambda: conv(3, 2, 3, 3, padding=SAME, padding_mode="circular"),
    "conv, circular, stride 2": lambda: conv(3, 2, 3, 3, stride=(2, 2), padding=SAME, padding_mode="circular"),
    "conv, large, circular": lambda: conv(1, 1, 3, 3, size=33, padding=SAME, padding_mode="circular"),
    "conv, large, circular, rows twice": lambda: conv(
        1, 1, 3, 3, size=33, padding=(33, 2, 2, 33), padding_mode="circular"
    ),
    "conv, large, near the identity": lambda: conv(1, 1, 3, 3, near_identity=0.02, size=33, padding=SAME),
    "conv, large": lambda: conv(1, 1, 3, 3, size=33, padding=SAME),
    "conv, large, stride 2": lambda: conv(4, 1, 3, 3, size=33, stride=(2, 2), padding=SAME),
}
"""By name: the operator's kind, and after a comma what is special about this one."""


def kind_of(name: str) -> str:
    return name.partition(",")[0]


# -- searches -------------------------------------------------------------------------------------


def inflated(certificate: lp.Certificate, factor: float) -> lp.Certificate:
    return dataclasses.replace(certificate, radius=certificate.radius * factor)


def attack_on(model: lp.CertifiedClassifier) -> str:
    """Beside the audit's own. Around its images every canary is linear or nearly so: twenty steps are plenty."""
    return f"autoattack:{'apgd-ce' if model.num_classes == 2 else 'apgd-t'}?n_iter=20"


def attacked(canary: Canary, certificate: lp.Certificate, *, reach: float = 1.005) -> Report:
    """At an eps of ``reach`` smallest honest radii; an image that this certificate still certifies there is audited.

    Raises SoundnessError where an attack finds a point inside a radius of this certificate.
    """
    eps = reach * float(lp.certify(canary.model, canary.x).radius.min())
    attacks = (get_attack(attack_on(canary.model)),)
    request = Request(eps=(eps,), attacks=attacks, audit=None)
    return compare_certified(canary.model, canary.x, canary.y, certificate, request)


def closest_call(canary: Canary) -> Finding:
    """By attacks on the honest certificate. Raises SoundnessError where they break it."""
    certificate = lp.certify(canary.model, canary.x)
    distance = attacked(canary, certificate).points.distance
    index = int((distance / certificate.radius).argmin())
    return Finding(float(certificate.radius[index]), float(distance[index]))


def is_caught(canary: Canary, factor: float, *, reach: float = 1.005) -> bool:
    """Whether the attacks contradict radii inflated by this factor: by the audit where it exceeds ``reach``."""
    try:
        attacked(canary, inflated(lp.certify(canary.model, canary.x), factor), reach=reach)
    except lp.SoundnessError:
        return True
    return False


def rule(canary: Canary, kind: str) -> str:
    """How the bound of the operator on trial was proved."""
    layers = lp.lipschitz_upper_bound(canary.model).layers
    return next((layer.method for layer in layers if layer.name.endswith(f" {kind}")), "distance of rows")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {'; '.join(CANARIES)} (default: all)")
    chosen = parser.parse_args().names or [*CANARIES]
    unknown = [name for name in chosen if name not in CANARIES]
    if unknown:
        parser.error(f"no canary {unknown[0]!r}; known: {'; '.join(CANARIES)}")
    torch.set_num_threads(1)
    failed = 0
    print(f"{'canary':37}{'radius':>12}{'distance':>12}{'inflation caught':>18}  rule")
    for name in chosen:
        canary = CANARIES[name]()
        try:
            found = closest_call(canary)
        except lp.SoundnessError as error:
            print(f"{name:37}BROKEN: {error}", flush=True)
            failed += 1
            continue
        just_above = found.inflation * (1 + 1e-6)
        caught = just_above <= LIMIT and is_caught(canary, just_above) and is_caught(canary, LIMIT)
        failed += not caught
        numbers = f"{found.radius:12.8f}{found.distance:12.8f}{found.inflation:18.8f}"
        print(f"{name:37}{numbers}  {rule(canary, kind_of(name))}{'' if caught else '  NOT CAUGHT'}", flush=True)
    print(f"{'FAILED' if failed else 'ok'}: {len(chosen) - failed} of {len(chosen)} canaries catch radii of {LIMIT}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
