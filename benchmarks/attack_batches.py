"""What it costs to attack the images that no certificate decides: all radii and targets in one batch, beside the
library's own loop over radii and targets, and the search for the closest point that goes first. One run.

usage: python benchmarks/attack_batches.py [--n 128] [--queries 1000] [--threads 1] [--json FILE]
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import plain_autoattack
import torch
from written_results import RESULTS, add_json_option, row, write_results

import lip_plugin as lp
from lip_plugin.data import load_shipped
from lip_plugin.evaluate import get_attack

NAME, GRID = "LipPlugin2026_LiResNet_Demo", (0.1, 0.25, 0.5)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=128)
    parser.add_argument("--queries", type=int, default=1000, help="of Square; AutoAttack's are 5000")
    parser.add_argument("--threads", type=int, default=1)
    add_json_option(parser)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    model = lp.load_model(NAME)
    x, y = load_shipped("fashion_mnist").first(options.n).tensors(model.dtype)
    certificate = lp.certify(model, x)
    undecided = [(certificate.prediction == y) & (certificate.radius <= eps) for eps in GRID]
    attacks = {"autoattack": f"autoattack?n_queries={options.queries}", "search": "foolbox:FMN?steps=30"}

    started = time.perf_counter()
    plain, standing = 0, [mask.clone() for mask in undecided]
    for at, eps in enumerate(GRID):
        rows = standing[at].nonzero().squeeze(1)
        fallen = plain_autoattack.broken(model, x[rows], y[rows], eps, n_queries=options.queries) if len(rows) else rows
        plain += int(fallen.sum())
        for later in range(at + 1, len(GRID)):  # broken once is broken at every larger radius
            plain += int((standing[later][rows[fallen]]).sum())
            standing[later][rows[fallen]] = False
    peer = time.perf_counter() - started

    rows_of = [(image, eps) for mask, eps in zip(undecided, GRID, strict=True) for image in mask.nonzero().flatten()]
    images, radii = torch.stack([image for image, _ in rows_of]), torch.tensor([eps for _, eps in rows_of])
    found, seconds = {}, {}
    for key, spec in attacks.items():
        started = time.perf_counter()
        found[key] = int(get_attack(spec)(model, x[images], y[images], eps=radii).success.sum())
        seconds[key] = time.perf_counter() - started
    count = len(rows_of)
    print(f"{count} undecided points of {options.n} images at {GRID}; broken: {plain} by the library's loop, {found}")
    loop = "pyautoattack, one radius and target at a time"
    rows = [
        row(f"AutoAttack, {count} points in one batch", seconds["autoattack"], loop, peer, broken=found["autoattack"]),
        row(f"closest point first, {count} points", seconds["search"], loop, peer, broken=found["search"]),
    ]
    for one in rows:
        print(f"{one['what']}: {one['seconds']:.3g} s; {one['peer']}: {peer:.3g} s; {one['ratio']:.2f}x")
    settings: dict[str, Any] = {"n": options.n, "queries": options.queries, "broken_by_the_loop": plain}
    write_results(options.json or RESULTS / "attack_batches.json", rows, **settings)


if __name__ == "__main__":
    main()
