"""What a proof costs beside what it is compared with: power iteration, and forwards of the same network, in one run.

usage: python benchmarks/certificates.py [--models NAME ...] [--threads 1] [--json FILE]

The first certificate proves a bound of every layer; others print one of 500 steps of power iteration in float32, which
prove nothing. Further certificates are of random images: their time does not depend on what is in them.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from statistics import median
from typing import Any

import torch
from device_time import Step, seconds_in_turns
from written_results import RESULTS, add_json_option, row, write_results

import lip_plugin as lp
from lip_plugin.bounds import conv_norm_estimate, dense_norm_estimate
from lip_plugin.certificates import lipschitz
from lip_plugin.network.operators import Conv, ConvexPotential, Dense
from lip_plugin.network.operators.proved import forget_proofs

BATCH, STEPS = 256, 500


def power_iteration(model: lp.CertifiedClassifier) -> None:
    """Of every matrix that has weights in the models that are shipped."""
    for operator, shape in zip(model.layers, model.layer_input_shapes, strict=True):
        if isinstance(operator, Conv):
            conv_norm_estimate(
                operator.weight,
                input_size=(shape[1], shape[2]),
                stride=operator.stride,
                padding=operator.padding,
                dilation=operator.dilation,
                groups=operator.groups,
                padding_mode=operator.padding_mode,
                steps=STEPS,
            )
        elif isinstance(operator, ConvexPotential):
            high, wide = operator.padding
            sides = (high, high, wide, wide)
            conv_norm_estimate(operator.weight, input_size=(shape[1], shape[2]), padding=sides, steps=STEPS)
        elif isinstance(operator, Dense):
            dense_norm_estimate(operator.weight, steps=STEPS)


def first_bound(model: lp.CertifiedClassifier) -> None:
    lipschitz._memo.clear()  # pyright: ignore[reportPrivateUsage]
    forget_proofs()
    lp.lipschitz_upper_bound(model)


def measured(name: str) -> Iterator[dict[str, Any]]:
    model = lp.load_model(name)
    x = torch.rand(BATCH, *model.input_shape)
    wide = [layer.map_tensors(torch.Tensor.double) for layer in model.layers]

    def float64_forward() -> None:
        with torch.no_grad():
            value = x.double()
            for layer in wide:
                value = layer.apply(value)

    def both(ours: Step, peer: Step) -> tuple[float, float]:
        first, second = seconds_in_turns([ours, peer], model.device, 4.0, warm_up=1, least=3)
        return median(first), median(second)

    own, peer = both(lambda: first_bound(model), lambda: power_iteration(model))
    yield row(f"{name}: first bound", own, f"{STEPS} steps of power iteration", peer)
    own, peer = both(lambda: lp.certify(model, x), float64_forward)
    yield row(f"{name}: certificates of {BATCH} images", own, "their forward in float64, all at once", peer)
    own, peer = both(lambda: lp.certify(model, x[:1]), lambda: model(x[:1]))
    yield row(f"{name}: one image", own, "model(x)", peer)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=lp.list_models())
    parser.add_argument("--threads", type=int, default=1)
    add_json_option(parser)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    rows = [one for name in options.models for one in measured(name)]
    for one in rows:
        print(f"{one['what']}: {one['seconds']:.3g} s; {one['peer']}: {one['peer_seconds']:.3g} s; {one['ratio']:.2f}x")
    write_results(options.json or RESULTS / "certificates.json", rows)


if __name__ == "__main__":
    main()
