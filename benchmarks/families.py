"""Which family, measured: every one trained for the same CPU time, each at the temperature that suits it.

    python benchmarks/families.py --data-dir DIR --out runs/families [--minutes 20] [--choose-minutes 2] [--families ..]

Batches come in the same order for all; equal_time.py says how runs are timed, temperatures chosen and figures proved.
Several processes may share the families among themselves. The table is of the files that are there: ``--table``
prints it alone.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from equal_time import HELD_OUT, add_options, compare, head, longest_runs, parsed, row

from lip_plugin.train.config import TrainConfig, load_config
from lip_plugin.train.precision import with_settled_precision

FAMILIES: dict[str, tuple[str, ...]] = {
    "LiResNet++": ("cifar10_small",),
    "LiResNet++, orthogonal stem": ("cifar10_small", "model.stem=patches"),
    "BRONet": ("cifar10_small_bronet", "loss=emma"),
    "LipNeXt": ("cifar10_small_lipnext",),
    **{block: ("cifar10_comparison", f"model.block={block}") for block in ("sll", "cpl", "aol", "cayley", "soc")},
}
"""A recipe and what is changed in it. Each has its own width, rates and weight decay, all the same images and loss."""
FIRST_TEMPERATURE = 1.0


@dataclass(frozen=True)
class Run:
    """One training: which family, at which temperature, for how long, and from which seed."""

    family: str
    temperature: float
    minutes: float
    seed: int

    @property
    def name(self) -> str:
        return self.family

    def config(self, data: str) -> TrainConfig:
        recipe, *changes = FAMILIES[self.family]
        shared = [f"data_dir={data}", f"held_out={HELD_OUT}", "batch_size=128", f"temperature={self.temperature}"]
        return with_settled_precision(load_config(recipe, [*changes, *shared, f"seed={self.seed}"]))


def table(folder: Path) -> str:
    """Of the longest runs of every family; the mean over seeds."""
    lines, runs = [head("family", "parameters")], longest_runs(folder)
    for family in FAMILIES:
        if ours := [run for run in runs if run["family"] == family]:
            lines.append(row([family, f"{ours[0]['parameters'] / 1e6:.2f} M"], ours))
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir")
    parser.add_argument("--families", nargs="+", choices=list(FAMILIES), default=list(FAMILIES))
    add_options(parser, minutes=20.0, choose_minutes=2.0)
    asked = parsed(parser, "data_dir", "the CIFAR-10 files")
    if not asked.table:
        compare([partial(Run, family) for family in asked.families], FIRST_TEMPERATURE, asked.data_dir, asked)
    print(table(asked.out))


if __name__ == "__main__":
    main()
