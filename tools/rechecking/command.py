"""The command line. Exit 0: everything agrees; 1: something disagrees, named with its numbers; 2: bad input."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from .arithmetic import TINY
from .certificate import PROOF_SLACK, certify, point_problems, prove_layers
from .chain import product
from .model import Disagreement, read_model
from .reading import DTYPES, parse_json, read_images, read_points
from .together import with_scales


def check(args: argparse.Namespace) -> Iterator[str]:
    """Print what was proved; yield what disagrees."""
    card, layers = read_model(args.model)
    print(f"sha256 of the weights agrees: {card['sha256']}")
    found = list(prove_layers(layers))
    for index, (bound, method) in enumerate(found):
        print(f"{index:02d} {layers[index].kind:<16}{bound:<20.15g}{method}")
    bounds = [bound for bound, _ in found]
    together, scaled = with_scales(layers)
    total = min(product(bounds), together)
    print(f"Lipschitz upper bound {total!r}")
    if not math.isfinite(total):
        raise ValueError("no finite Lipschitz bound")
    figures: dict[str, Any] = {"card": (card.get("measured") or {}).get("lipschitz_upper_bound")}
    if args.report:
        report = parse_json(args.report.read_bytes(), args.report.name)
        figures["report"] = report["lipschitz"]["upper_bound"]
        if report["model"]["sha256"] != card["sha256"]:
            yield f"{args.report.name} is about other weights"
    for name, figure in [item for item in figures.items() if item[1] is not None]:
        print(f"the library's, from its {name}: {figure!r}")
        if not total * (1 - PROOF_SLACK) - 1e-60 <= figure <= total * (1 + args.tolerance):
            yield f"the library's Lipschitz bound {figure!r} does not agree with the proved {total!r}"
    data = args.data or Path(__file__).parents[2] / "lip_plugin/data/slices" / f"{card.get('dataset')}_test.npz"
    if not (args.data or args.points or data.is_file()):
        print("no images given: radii not checked")
        return
    x, y = read_images(data, tuple(card["input_shape"]), DTYPES[card["dtype"]], args.images)
    parts = [certify(layers, bounds, total, x[i : i + 20], scaled) for i in range(0, len(x), 20)]
    best, radii = (np.concatenate(part) for part in zip(*parts, strict=True))
    print(f"{len(x)} images: {int((best == y).sum())} right, median radius {float(np.median(radii)):.6f}")
    rows = read_points(args.points, len(x)) if args.points else {}
    worst = max((abs(float(row["radius"]) / max(radii[i], TINY) - 1) for i, row in rows.items() if radii[i]), default=0)
    print(f"{len(rows)} radii of the library compared, largest relative difference {worst:.2e}")
    for i, row in rows.items():
        for problem in point_problems(row, int(y[i]), int(best[i]), float(radii[i]), args.tolerance):
            yield f"image {i}: {problem}"


class Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ValueError(message)


@np.errstate(all="ignore")  # what overflows is caught by the tests for finite numbers
def main(arguments: list[str]) -> int:
    parser = Parser(description="Re-prove a model directory's Lipschitz bound and radii, independently of the library.")
    parser.add_argument("model", type=Path, help="directory with card.json and model.safetensors")
    parser.add_argument("--data", type=Path, help=".npz with x and y (default: the shipped slice, if there is one)")
    parser.add_argument("--points", type=Path, help="points.csv written by lip certify --out")
    parser.add_argument("--report", type=Path, help="report.json of the same run (default: the card's figure)")
    parser.add_argument("--images", type=int, default=100, help="how many of the first images (default 100)")
    parser.add_argument("--tolerance", type=float, default=1e-3, help="relative agreement asked for (default 0.001)")
    try:
        args = parser.parse_args(arguments)
        if args.images < 1 or not 0 < args.tolerance < 1:
            raise ValueError("--images must be positive, --tolerance between 0 and 1")
        problems = list(check(args))
    except Disagreement as error:
        problems = [str(error)]
    except Exception as error:  # whatever stops the checker, it has not agreed
        print(f"bad input: {type(error).__name__}: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    print("\n".join([*(f"DISAGREES: {problem}" for problem in problems), "FAILED" if problems else "OK"]))
    return 1 if problems else 0
