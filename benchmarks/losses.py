"""Which loss at how many classes, measured: one network, equal CPU time, each loss at the temperature that suits it.

    python benchmarks/losses.py --data-root DIR --out runs/losses [--datasets ..] [--losses ..] [--seeds 2]
    python benchmarks/losses.py --out runs/losses --table [--plot FILE.svg]

DIR has a folder for each data set, by its name. Batches come in the same order for all losses; equal_time.py says how
runs are timed, temperatures chosen and figures proved. What else a loss can be set to is as its paper has it.
Table and plot are of the files that are there.
"""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import mean
from typing import Any

from equal_time import GRID, HELD_OUT, add_options, compare, head, longest_runs, parsed, row

from lip_plugin.train.config import TrainConfig, load_config
from lip_plugin.types import format_eps


@dataclass(frozen=True)
class Data:
    """Images of ``classes`` classes, and what makes the network's maps as large as those of 32 x 32 pixels."""

    title: str
    classes: int
    changes: tuple[str, ...] = ()


DATASETS = {
    "cifar10": Data("CIFAR-10", 10),
    "cifar100": Data("CIFAR-100", 100),
    "tiny_imagenet": Data("Tiny-ImageNet", 200, ("model.patch=8",)),
}
LOSSES = {
    "emma": "EMMA",
    "gloro_trades": "GloRo-TRADES",
    "margin": "margin",
    "logit_annealing": "logit annealing",
    "cross_entropy": "cross-entropy",
}
NETWORK = ("model.block=sll", "model.depth=3", "model.width=64", "batch_size=128", "bfloat16=false")
FIRST_TEMPERATURE = 0.25
LINES = (("o", "-"), ("s", "--"), ("^", "-."), ("D", ":"), ("x", (0, (6, 2, 1, 2, 1, 2))))
"""Marker and line style of each loss: told apart without colours."""
BESIDE = 0.04
"""How far apart equal points are drawn, of the distance between data sets."""


@dataclass(frozen=True)
class Run:
    """One training: on which images, with which loss, at which temperature, for how long, and from which seed."""

    dataset: str
    loss: str
    temperature: float
    minutes: float
    seed: int

    @property
    def name(self) -> str:
        return f"{self.dataset} {self.loss}"

    def config(self, data: str) -> TrainConfig:
        images = [f"dataset={self.dataset}", f"data_dir={Path(data) / self.dataset}", f"held_out={HELD_OUT}"]
        ours = [f"loss={self.loss}", f"temperature={self.temperature}", f"seed={self.seed}"]
        return load_config("cifar10_comparison", [*NETWORK, *DATASETS[self.dataset].changes, *images, *ours])


def cases(folder: Path) -> dict[tuple[str, str], list[dict[str, Any]]]:
    """The longest runs by data set and loss, in the order of the table."""
    runs = longest_runs(folder)
    found = {
        (dataset, loss): [run for run in runs if (run["dataset"], run["loss"]) == (dataset, loss)]
        for dataset in DATASETS
        for loss in LOSSES
    }
    return {case: ours for case, ours in found.items() if ours}


def table(folder: Path) -> str:
    """The mean over seeds of every data set and loss."""
    lines = [head("classes", "loss")]
    for (dataset, loss), runs in cases(folder).items():
        data = DATASETS[dataset]
        lines.append(row([f"{data.classes} ({data.title})", LOSSES[loss]], runs))
    return "\n".join(lines)


def draw(folder: Path, path: Path) -> None:
    """VRA at the first radius by number of classes, and beside EMMA's, of which two standard errors are shaded.

    Of the data sets where EMMA has been run.
    """
    from matplotlib.figure import Figure

    from lip_plugin.report.plots.style import INK, PROVED, QUIET, WIDTH, plot_style

    found = {case: mean(run["proved"][0] for run in runs) for case, runs in cases(folder).items()}
    sets = [dataset for dataset in DATASETS if (dataset, "emma") in found]
    emma = [found[dataset, "emma"] for dataset in sets]
    errors = [2 * standard_error(vra) for vra in emma]
    with plot_style():
        figure = Figure(figsize=(WIDTH, 6.2), layout="constrained")
        above, below = figure.subplots(2, sharex=True)
        below.bar(
            range(len(sets)),
            [2 * error for error in errors],
            0.3,
            [-error for error in errors],
            color=QUIET,
            alpha=0.25,
        )
        for number, ((loss, name), (marker, line)) in enumerate(zip(LOSSES.items(), LINES, strict=True)):
            here = [place for place, dataset in enumerate(sets) if (dataset, loss) in found]
            name = name if here else "_"  # not in the legend
            values = [found[sets[place], loss] for place in here]
            beside = [value - emma[place] for place, value in zip(here, values, strict=True)]
            at = [place + BESIDE * (number - len(LOSSES) // 2) for place in here]
            for axes, heights in ((above, values), (below, beside)):
                look = {"color": PROVED if loss == "emma" else INK, "markerfacecolor": "white", "linewidth": 1.3}
                axes.plot(at, heights, marker=marker, linestyle=line, label=name, **look)
        above.set_ylabel(f"VRA at {format_eps(GRID[0])}, %")
        below.set_ylabel("points beside EMMA")
        below.set_xticks(range(len(sets)), [f"{DATASETS[name].classes}\n{DATASETS[name].title}" for name in sets])
        below.set_xlabel("classes")
        above.legend(handlelength=4)
        below.use_sticky_edges = False
        figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


def standard_error(percent: float) -> float:
    """Of a share of the reported images, in points."""
    return 100 * math.sqrt(percent / 100 * (1 - percent / 100) / (HELD_OUT // 2))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-root")
    parser.add_argument("--datasets", nargs="+", choices=list(DATASETS), default=list(DATASETS))
    parser.add_argument("--losses", nargs="+", choices=list(LOSSES), default=list(LOSSES))
    parser.add_argument("--plot", type=Path)
    add_options(parser, minutes=3.0, choose_minutes=0.6)
    asked = parsed(parser, "data_root", "a folder for each data set")
    if not asked.table:
        everything = [partial(Run, dataset, loss) for dataset in asked.datasets for loss in asked.losses]
        compare(everything, FIRST_TEMPERATURE, asked.data_root, asked)
    print(table(asked.out))
    if asked.plot:
        draw(asked.out, asked.plot)


if __name__ == "__main__":
    main()
