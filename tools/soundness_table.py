"""How tight the proof of a model is, seen from both sides: a table for every model named.

Per model: the constant into features as a converged power iteration estimates it (from below), as a search for two
points shows it (a lower bound), as the library proves it and as the independent checker proves it; verified robust
accuracy at the card's radii with the estimate in place of the bound, and proved for every arithmetic; and how far
adversarial points lie outside the radii.

usage: python tools/soundness_table.py [NAME ...] [--data-dir DIR] [--data FILE.npz] [--n N] [--attacked 64]
"""

from __future__ import annotations

import argparse
import math
import re
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

import lip_plugin as lp
from lip_plugin.bounds.estimates import conv_norm_estimate, dense_norm_estimate
from lip_plugin.certificates import Certificate
from lip_plugin.cli.options import ImageOptions
from lip_plugin.cli.selection import select_eps, select_images, select_model
from lip_plugin.data import LabelledImages
from lip_plugin.evaluate import get_attack
from lip_plugin.network.operators import Conv, Dense
from lip_plugin.types import format_eps

ARITHMETICS = ("real", "float64", "float32", "forward")
BATCH = 256


def converged_estimate(model: lp.CertifiedClassifier, steps: int) -> float:
    """LOWER estimate of what the product of the layers' norms is: power iteration of ``steps`` per linear layer.

    The other layers' constants are exact.
    """
    product = 1.0
    layers = zip(model.operators, model.layer_input_shapes, lp.lipschitz_upper_bound(model).layers, strict=False)
    for operator, shape, bound in layers:
        if isinstance(operator, Conv):
            estimate, _ = conv_norm_estimate(
                operator.weight.double(),
                input_size=(shape[1], shape[2]),
                stride=operator.stride,
                padding=operator.padding,
                dilation=operator.dilation,
                groups=operator.groups,
                padding_mode=operator.padding_mode,
                steps=steps,
            )
            product *= float(estimate)
        elif isinstance(operator, Dense):
            product *= float(dense_norm_estimate(operator.weight.double(), steps=steps)[0])
        else:
            product *= bound.value
    return product


def checker_bound(directory: Path) -> str:
    """What tools/recheck.py proves on its own."""
    command = [sys.executable, str(Path(__file__).with_name("recheck.py")), str(directory), "--images", "1"]
    output = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    found = re.search(r"^Lipschitz upper bound (\S+)$", output, re.MULTILINE)
    return f"{float(found[1]):.6f}" if found else "not proved"


def certificates(model: lp.CertifiedClassifier, images: LabelledImages, arithmetic: str) -> tuple[Certificate, Tensor]:
    """The certificate of all images, and their labels."""
    from lip_plugin.certificates import certify_blocks

    labels: list[Tensor] = []

    def pixels() -> Iterator[Tensor]:
        for x, y in images.blocks(BATCH, model.dtype):
            labels.append(y)
            yield x

    certificate = certify_blocks(model, pixels(), arithmetic=arithmetic)
    return certificate, torch.cat(labels)


def first(images: LabelledImages, count: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """The first images (n, C, H, W), n <= count, and their labels (n,)."""
    blocks = list(images.first(min(count, len(images))).blocks(count, dtype))
    return torch.cat([x for x, _ in blocks]), torch.cat([y for _, y in blocks])


def accuracies(certificate: Certificate, labels: Tensor, eps: tuple[float, ...], factor: float = 1.0) -> str:
    """Percent proved at every eps, radii times ``factor``."""
    correct = certificate.prediction == labels
    return " / ".join(f"{100 * float((correct & (certificate.radius * factor > e)).double().mean()):.2f}" for e in eps)


def distances_over_radii(
    model: lp.CertifiedClassifier, images: LabelledImages, spec: str, certificate: Certificate, count: int
) -> str:
    """Smallest and median ratio among the correct images of the first ``count``, attacked at any distance."""
    x, y = first(images, count, model.dtype)
    radius = certificate.radius[: len(x)]
    chosen = (certificate.prediction[: len(x)] == y) & (radius > 0)
    diameter = math.sqrt(x[0].numel())
    result = get_attack(spec)(model, x[chosen], y[chosen], eps=diameter)
    ratios = (result.distance / radius[chosen])[result.success].tolist()
    if not ratios:
        return "no adversarial point"
    return f"{min(ratios):.3f} / {statistics.median(ratios):.3f} ({len(ratios)} of {int(chosen.sum())} images, {spec})"


def rows(name: str, args: argparse.Namespace) -> Iterator[tuple[str, str]]:
    """(what, value) in the order of the table."""
    from lip_plugin.zoo.registry import find_model

    model, card = select_model(name, None, None)
    images = select_images(card, ImageOptions(data_dir=args.data_dir, data=args.data, count=args.n))
    eps = select_eps(card, None)
    bound, estimate = lp.lipschitz_upper_bound(model).value, converged_estimate(model, args.steps)
    audit = lp.audit_lipschitz(model, first(images, 16, model.dtype)[0])
    yield "images", f"{len(images)} of {images.name} ({images.split})"
    yield "two points show at least", f"{audit.lower_bound:.6f} ({audit.lower_bound / bound:.1%} of the bound)"
    yield f"estimate, {args.steps} steps", f"{estimate:.6f}"
    yield "proved upper bound", f"{bound:.6f}"
    yield "checker's upper bound", checker_bound(find_model(name)[0])
    shown = " / ".join(format_eps(e) for e in eps)
    certificate, labels = certificates(model, images, "real")
    yield f"VRA at {shown}, estimate (not proved)", accuracies(certificate, labels, eps, bound / estimate)
    yield "VRA, real", accuracies(certificate, labels, eps)
    for arithmetic in ARITHMETICS[1:]:
        yield f"VRA, {arithmetic}", accuracies(*certificates(model, images, arithmetic), eps)
    for spec in filter(None, args.attacks.split(",")):
        ratios = distances_over_radii(model, images, spec, certificate, args.attacked)
        yield "adversarial distance over radius, smallest / median", ratios


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="zoo names or model directories (default: the demo model)")
    parser.add_argument("--data-dir", help="folder with the data set's own files")
    parser.add_argument("--data", help=".npz with x and y")
    parser.add_argument("--n", type=int, help="the first N images (default: all)")
    parser.add_argument("--attacked", type=int, default=64, help="how many of them are attacked")
    parser.add_argument("--attacks", default="foolbox:DDN,foolbox:FMN", help="minimum-norm attacks")
    parser.add_argument("--steps", type=int, default=20_000, help="of the power iteration")
    args = parser.parse_args(arguments)
    for name in args.names or ["LipPlugin2026_LiResNet_Demo"]:
        print(f"\n| {name} | |\n|---|---|", flush=True)
        for what, value in rows(name, args):
            print(f"| {what} | {value} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
