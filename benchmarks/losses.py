"""Which loss at how many classes, measured: the same network and CPU time for all, in two kinds of layers.

    python benchmarks/losses.py --data-root DIR --out runs/losses [--networks ..] [--losses ..] [--seeds 2]
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
from itertools import product
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


@dataclass(frozen=True)
class Network:
    """The net of docs/comparison.md in one kind of block. ``temperatures``: whether each loss chooses its own.

    Where norms are learned, so is the scale of the logits: all losses have temperature 1 there.
    """

    title: str
    temperatures: bool


NETWORKS = {"sll": Network("constant 1 (sll)", True), "gloro": Network("learned norms (gloro)", False)}
SHARED = ("model.depth=3", "model.width=64", "batch_size=128", "bfloat16=false")
FIRST_TEMPERATURE = 0.25
LINES = (("o", "-"), ("s", "--"), ("^", "-."), ("D", ":"), ("x", (0, (6, 2, 1, 2, 1, 2))))
"""Marker and line style of each loss: told apart without colours."""
SHOWN = (-5.0, 2.5)
"""Points beside EMMA: what proves nothing at all lies far below."""
BESIDE = 0.04
"""How far apart equal points are drawn, of the distance between data sets."""


@dataclass(frozen=True)
class Run:
    """One training: of which network, on which images, with which loss, at which temperature, how long, which seed."""

    network: str
    dataset: str
    loss: str
    temperature: float
    minutes: float
    seed: int

    @property
    def name(self) -> str:
        return f"{self.network} {self.dataset} {self.loss}"

    def config(self, data: str) -> TrainConfig:
        images = [f"dataset={self.dataset}", f"data_dir={Path(data) / self.dataset}", f"held_out={HELD_OUT}"]
        ours = [f"loss={self.loss}", f"temperature={self.temperature}", f"seed={self.seed}"]
        network = (f"model.block={self.network}", *SHARED)
        return load_config("cifar10_comparison", [*network, *DATASETS[self.dataset].changes, *images, *ours])


def cases(folder: Path) -> dict[tuple[str, str, str], list[dict[str, Any]]]:
    """The longest runs by network, data set and loss, in the order of the table."""
    runs = longest_runs(folder)
    found = {
        case: [run for run in runs if (run["network"], run["dataset"], run["loss"]) == case]
        for case in product(NETWORKS, DATASETS, LOSSES)
    }
    return {case: ours for case, ours in found.items() if ours}


def table(folder: Path) -> str:
    """The mean over seeds of every network, data set and loss."""
    lines = [head("layers", "classes", "loss")]
    for (network, dataset, loss), runs in cases(folder).items():
        data = DATASETS[dataset]
        lines.append(row([NETWORKS[network].title, f"{data.classes} ({data.title})", LOSSES[loss]], runs))
    return "\n".join(lines)


def draw(folder: Path, path: Path) -> None:
    """VRA at the first radius by number of classes, and beside EMMA's, of which two standard errors are shaded.

    A column for each network, of the data sets where EMMA has been run.
    """
    from matplotlib.figure import Figure

    from lip_plugin.report.plots.style import WIDTH, plot_style

    found = {case: mean(run["proved"][0] for run in runs) for case, runs in cases(folder).items()}
    networks = [network for network in NETWORKS if any(case[0] == network for case in found)]
    with plot_style():
        figure = Figure(figsize=(1.5 * WIDTH, 6.2), layout="constrained")
        columns = figure.subplots(2, len(networks), sharex="col", sharey="row", squeeze=False).T
        for network, (above, below) in zip(networks, columns, strict=True):
            _draw(above, below, {case[1:]: vra for case, vra in found.items() if case[0] == network})
            above.set_title(NETWORKS[network].title)
        first, second = columns[0]
        first.set_ylabel(f"VRA at {format_eps(GRID[0])}, %")
        second.set_ylabel("points beside EMMA")
        second.set_ylim(*SHOWN)
        drawn = {label: line for line, label in zip(*first.get_legend_handles_labels(), strict=True)}
        figure.legend(list(drawn.values()), list(drawn), loc="outside upper center", ncols=3, handlelength=4)
        figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


def _draw(above: Any, below: Any, found: dict[tuple[str, str], float]) -> None:
    from lip_plugin.report.plots.style import INK, PROVED, QUIET

    sets = [dataset for dataset in DATASETS if (dataset, "emma") in found]
    emma = [found[dataset, "emma"] for dataset in sets]
    errors = [2 * standard_error(vra) for vra in emma]
    heights, bottoms = [2 * error for error in errors], [-error for error in errors]
    below.bar(range(len(sets)), heights, 0.3, bottoms, color=QUIET, alpha=0.25)
    for number, ((loss, name), (marker, line)) in enumerate(zip(LOSSES.items(), LINES, strict=True)):
        here = [place for place, dataset in enumerate(sets) if (dataset, loss) in found]
        values = [found[sets[place], loss] for place in here]
        beside = [value - emma[place] for place, value in zip(here, values, strict=True)]
        at = [place + BESIDE * (number - len(LOSSES) // 2) for place in here]
        for axes, points in ((above, values), (below, beside)):
            look = {"color": PROVED if loss == "emma" else INK, "markerfacecolor": "white", "linewidth": 1.3}
            axes.plot(at, points, marker=marker, linestyle=line, label=name if here else "_", **look)
    below.set_xticks(range(len(sets)), [f"{DATASETS[name].classes}\n{DATASETS[name].title}" for name in sets])
    below.set_xlabel("classes")
    below.use_sticky_edges = False


def standard_error(percent: float) -> float:
    """Of a share of the reported images, in points."""
    return 100 * math.sqrt(percent / 100 * (1 - percent / 100) / (HELD_OUT // 2))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-root")
    parser.add_argument("--networks", nargs="+", choices=list(NETWORKS), default=list(NETWORKS))
    parser.add_argument("--datasets", nargs="+", choices=list(DATASETS), default=list(DATASETS))
    parser.add_argument("--losses", nargs="+", choices=list(LOSSES), default=list(LOSSES))
    parser.add_argument("--plot", type=Path)
    add_options(parser, minutes=3.0, choose_minutes=0.6)
    asked = parsed(parser, "data_root", "a folder for each data set")
    if not asked.table:
        for network in asked.networks:
            runs = [partial(Run, network, dataset, loss) for dataset in asked.datasets for loss in asked.losses]
            first = FIRST_TEMPERATURE if NETWORKS[network].temperatures else None
            compare(runs, first, asked.data_root, asked)
    print(table(asked.out))
    if asked.plot:
        draw(asked.out, asked.plot)


if __name__ == "__main__":
    main()
