"""Peak memory of certify, compare, submit and verify on 1,000, 10,000 and 50,000 small images.

usage: python benchmarks/peak_memory.py [--counts 1000 10000 50000] [--json FILE]

Each command is a process of its own (--jobs 1); its peak is what the system says of it when it has ended. The images
are the shipped ones over and over, as PNG in WebDataset shards, which are streamed.
"""

from __future__ import annotations

import argparse
import io
import itertools
import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from written_results import RESULTS, add_json_option, row, write_results

from lip_plugin.data import load_shipped

MODEL = "LipPlugin2026_LiResNet_Demo"
EPS = "0.25,0.5"
ATTACK = "autoattack:apgd-ce?n_iter=5"
_IN_SHARD = 5000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--counts", type=int, nargs="+", default=[1000, 10_000, 50_000])
    add_json_option(parser)
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for count in options.counts:
        with tempfile.TemporaryDirectory() as folder:
            rows += measured(count, Path(folder))
    write_results(options.json or RESULTS / "scaling" / "peak_memory.json", rows, model=MODEL, eps=EPS, attack=ATTACK)


def measured(count: int, folder: Path) -> Iterator[dict[str, Any]]:
    """Of each command on so many images."""
    write_shards(folder / "images" / "test", count)
    images = ["--data", f"shards:{folder / 'images'}"]
    asked = [MODEL, *images, "--eps", EPS, "--quiet", "--jobs", "1"]
    attacked = ["--attacks", ATTACK, "--audit", "0"]
    commands = {
        "certify": ["certify", *asked, "--out", str(folder / "certified")],
        "compare": ["compare", *asked, *attacked, "--out", str(folder / "compared")],
        "submit": ["submit", *asked, *attacked, "--board", "own", "--out", str(folder / "bundle")],
        "verify": ["verify", str(folder / "bundle"), *images, "--quiet"],
    }
    for name, words in commands.items():
        seconds, peak = peak_of(words)
        print(f"{name:8} {count:7,} images: {peak:7.1f} MiB, {seconds:.0f} s of CPU", flush=True)
        yield row(f"{name} {count} images", seconds, "", None, images=count, peak_mib=round(peak, 1))


def write_shards(folder: Path, count: int) -> None:
    """The shipped images, over and over, as PNG."""
    shipped = load_shipped("fashion_mnist")
    pictures = [_png(pixels) for pixels in shipped.pixels[:, 0]]
    wanted = itertools.islice(itertools.cycle(zip(pictures, shipped.labels.tolist(), strict=True)), count)
    folder.mkdir(parents=True)
    for number, start in enumerate(range(0, count, _IN_SHARD)):
        with tarfile.open(folder / f"{number:06}.tar", "w") as shard:
            for place, (picture, label) in enumerate(itertools.islice(wanted, _IN_SHARD), start):
                for ending, content in (("png", picture), ("cls", str(label).encode())):
                    member = tarfile.TarInfo(f"{place:08}.{ending}")
                    member.size = len(content)
                    shard.addfile(member, io.BytesIO(content))


def _png(pixels: np.ndarray[Any, Any]) -> bytes:
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "png")
    return content.getvalue()


def peak_of(words: list[str]) -> tuple[float, float]:
    """Seconds of CPU and peak resident MiB of the command in a process of its own. Raises where it fails."""
    code = "from lip_plugin.cli import main; main()"
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen([sys.executable, "-c", code, *words], env=environment, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise RuntimeError(f"lip {words[0]} has ended with code {process.returncode}")
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


if __name__ == "__main__":
    main()
