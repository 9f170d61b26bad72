"""What a second process saves: `lip certify` and `lip compare` by one process against two, on two cores, in one run.

usage: python benchmarks/two_processes.py [--data-dir DIR] [--images 10000] [--attacked 512] [--json FILE]

Every figure is taken twice: of the work as the report tells it, and of the whole command, from importing torch to the
report that is written; short proofs that one process does while the other begins are in the latter alone. The images
are those of Fashion-MNIST where they are installed, random ones else; the cold bound is that of two random images.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from written_results import RESULTS, add_json_option, row, write_results

INSTALLED = Path("/usr/share/datasets/fashion-mnist")
DEMO, SMALL = "LipPlugin2026_LiResNet_Demo", "LipPlugin2026_LiResNet_S"


def random_images(file: Path, shape: tuple[int, ...], count: int) -> list[str]:
    generator = np.random.default_rng(0)
    np.savez(file, x=generator.integers(0, 256, (count, *shape), np.uint8), y=generator.integers(0, 10, count))
    return ["--data", f"npz:{file}"]


def seconds(command: list[str], jobs: int) -> tuple[float, float]:
    """Of the work, and of the whole command."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out"
        words = [sys.executable, "-m", "lip_plugin", *command, "--jobs", str(jobs), "--quiet", "--out", str(out)]
        started = time.perf_counter()
        subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
        whole = time.perf_counter() - started
        cost = json.loads((out / "report.json").read_text(encoding="utf-8"))["cost"]
    return cost["certify_seconds"] + cost["attack_seconds"], whole


def measured(what: str, command: list[str]) -> Iterator[dict[str, Any]]:
    one, two = seconds(command, 1), seconds(command, 2)
    yield row(f"two processes, {what}", two[0], "one process", one[0])
    yield row(f"whole command, {what}", two[1], "one process", one[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, default=INSTALLED if INSTALLED.exists() else None)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--attacked", type=int, default=512)
    add_json_option(parser)
    options = parser.parse_args()
    if len(os.sched_getaffinity(0)) < 2:
        sys.exit("two processes need two cores")
    with tempfile.TemporaryDirectory() as folder:
        of_demo = ["--data-dir", str(options.data_dir)]
        if options.data_dir is None:
            of_demo = random_images(Path(folder) / "grey.npz", (1, 28, 28), options.images)
        few = [*random_images(Path(folder) / "two.npz", (3, 32, 32), 2), "--batch-size", "1", "--bound", "tight"]
        attack = ["--eps", "0.5", "--attacks", "autoattack:apgd-t", "--n", str(options.attacked), "--batch-size", "64"]
        rows = [
            *measured(f"certify {options.images} images", ["certify", DEMO, *of_demo, "--n", str(options.images)]),
            *measured(f"compare {options.attacked} images, APGD-T", ["compare", DEMO, *of_demo, *attack]),
            *measured(f"tight bound of {SMALL}", ["certify", SMALL, *few]),
        ]
    for one in rows:
        print(f"{one['what']}: {one['seconds']:.3g} s; {one['peer']}: {one['peer_seconds']:.3g} s; {one['ratio']:.2f}x")
    write_results(
        options.json or RESULTS / "two_processes.json", rows, images=options.images, attacked=options.attacked
    )


if __name__ == "__main__":
    main()
