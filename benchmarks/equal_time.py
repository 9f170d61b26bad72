"""Trainings of equal CPU time, each at the temperature that suits it: what such comparisons share.

Learning rate and radius ramp follow the CPU time that is used up, so that what is slow sees fewer images and ends with
the same schedule. `HELD_OUT` training images are kept aside: one half chooses the temperature, by the bound that is
proved and in float32, the other half is certified and reported. One thread. Every run
leaves one JSON file and is not repeated; several processes may share the work.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from statistics import mean
from typing import Any, ClassVar, Protocol

import torch

from lip_plugin.certificates import pair_lipschitz_upper_bound
from lip_plugin.data import ImageSet
from lip_plugin.evaluate import Request, evaluate_images
from lip_plugin.models import freeze
from lip_plugin.network import CertifiedClassifier
from lip_plugin.ranks import Ranks
from lip_plugin.train.config import TrainConfig
from lip_plugin.train.schedule import eps_at, learning_rate_at
from lip_plugin.train.sources import batch_source, class_count
from lip_plugin.train.splits import load_splits
from lip_plugin.train.state import TrainState, initial_state
from lip_plugin.train.step import train_step
from lip_plugin.types import format_eps

HELD_OUT = 10_000
GRID = (36 / 255, 72 / 255, 108 / 255)
"""Radii of the tables; the first one chooses the temperature."""
STEP = 4.0


class Run(Protocol):
    """One training: a dataclass whose fields go into its file."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def temperature(self) -> float: ...

    @property
    def minutes(self) -> float:
        """CPU time, of one thread."""
        ...

    @property
    def seed(self) -> int: ...

    @property
    def name(self) -> str:
        """Of what is compared, another one for each."""
        ...

    def config(self, data: str) -> TrainConfig:
        """With `HELD_OUT` images kept aside; ``data`` is the folder that the command was given."""
        ...


Compared = Callable[[float, float, int], Run]
"""One of the things compared: its run at a temperature, for some minutes, from a seed."""


@dataclass(frozen=True)
class Images:
    training: ImageSet
    choosing: ImageSet
    reported: ImageSet


def load(config: TrainConfig) -> Images:
    splits = load_splits(config)
    training, kept = splits.training, splits.held_out
    assert isinstance(training, ImageSet) and isinstance(kept, ImageSet)
    halves = slice(None, HELD_OUT // 2), slice(HELD_OUT // 2, None)
    choosing, reported = (
        dataclasses.replace(kept, pixels=kept.pixels[half], labels=kept.labels[half]) for half in halves
    )
    return Images(training, choosing, reported)


def trained(config: TrainConfig, images: Images, seconds: float) -> tuple[TrainState, int]:
    """The state after ``seconds`` of CPU time, and how many images that were."""
    source, classes = batch_source(config, images.training, Ranks()), class_count(images.training)
    state = initial_state(config, input_shape=images.training.image_shape, num_classes=classes)
    state.model.train()
    seen, started = 0, time.process_time()
    for epoch in count():
        for x, y in source.epoch(epoch):
            progress = (time.process_time() - started) / seconds
            if progress >= 1:
                state.optimiser.end_epoch()
                return state, seen
            warm_up = config.warmup_fraction
            state.optimiser.set_learning_rate(learning_rate_at_share(progress, config.learning_rate, warm_up))
            train_step(config, state, x, y, eps_at(progress, 1, config.eps, config.eps_ramp))
            seen += len(y)
        state.optimiser.end_epoch()
    raise AssertionError


def learning_rate_at_share(progress: float, peak: float, warm_up: float) -> float:
    """The schedule of `lip train`, of a share in [0, 1] of the run."""
    parts = 10_000
    return learning_rate_at(int(progress * parts), parts, peak, int(warm_up * parts))


def proved_share(network: CertifiedClassifier, images: ImageSet, eps: float) -> float:
    """Of the images that are right with a margin of eps times the proved pair bound: in float32, no certificate."""
    pair = pair_lipschitz_upper_bound(network).float()
    right = 0
    with torch.no_grad():
        for x, y in images.blocks(500, network.dtype):
            logits = network(x)
            spare = logits.gather(1, y[:, None]) - logits - eps * pair[y]
            right += int((spare.scatter(1, y[:, None], torch.inf).amin(1) > 0).sum())
    return right / len(images)


def file_name(run: Run) -> str:
    name = "".join(letter if letter.isalnum() else "_" for letter in run.name)
    return f"{name}-T{run.temperature:g}-{run.minutes:g}min-seed{run.seed}.json"


def measured(run: Run, data: str, folder: Path, *, certified: bool) -> dict[str, Any]:
    """The figures of a run, from its file if it has been made. Accuracies in percent."""
    path = folder / file_name(run)
    if not path.exists():
        config = run.config(data)
        images = load(config)
        state, seen = trained(config, images, 60 * run.minutes)
        network = freeze(state.result)
        figures = {
            **dataclasses.asdict(run),
            "choosing": 100 * proved_share(network, images.choosing, GRID[0]),
            "images": seen,
            "parameters": sum(value.numel() for value in state.model.parameters()),
            "bfloat16": config.bfloat16,
            "torch": torch.__version__,
            **(of_certificates(network, images.reported) if certified else {}),
        }
        path.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
        print(time.strftime("%H:%M"), json.dumps(figures), flush=True)
    return json.loads(path.read_text(encoding="utf-8"))


def of_certificates(network: CertifiedClassifier, images: ImageSet) -> dict[str, Any]:
    report = evaluate_images(network, images, Request.of(GRID, tightness=True))
    return {
        "clean": 100 * report.clean_accuracy,
        "proved": [100 * result.verified_robust_accuracy for result in report.eps],
        "ratio": None if report.tightness is None else report.tightness.median,
        "bound": report.lipschitz.value,
    }


def chosen_temperature(compared: Compared, first: float, minutes: float, data: str, folder: Path) -> float:
    """The best by VRA at the first radius on the choosing images: fourfolds or quarters of ``first`` while it rises."""

    def score(temperature: float) -> float:
        found: float = measured(compared(temperature, minutes, 0), data, folder, certified=False)["choosing"]
        return found

    best = first
    for factor in (STEP, 1 / STEP):
        while score(best * factor) > score(best):
            best *= factor
        if best != first:
            break  # it went up on this side
    return best


def compare(everything: Iterable[Compared], first: float | None, data: str, asked: argparse.Namespace) -> None:
    """Leave the files of all runs in the folder that was asked for; those that are there are kept.

    ``first`` is the temperature where the choice begins; None takes 1 for all.
    """
    torch.set_num_threads(1)
    asked.out.mkdir(parents=True, exist_ok=True)
    for compared in everything:
        temperature = 1.0
        if first is not None:
            temperature = chosen_temperature(compared, first, asked.choose_minutes, data, asked.out)
        for seed in range(asked.seeds):
            measured(compared(temperature, asked.minutes, seed), data, asked.out, certified=True)


def add_options(parser: argparse.ArgumentParser, *, minutes: float, choose_minutes: float) -> None:
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=minutes)
    parser.add_argument("--choose-minutes", type=float, default=choose_minutes)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--table", action="store_true", help="only print the table, of the files in --out")


def parsed(parser: argparse.ArgumentParser, data: str, holds: str) -> argparse.Namespace:
    """The options; ``data`` is the one for the images, which a table does without."""
    asked = parser.parse_args()
    if not asked.table and getattr(asked, data) is None:
        parser.error(f"--{data.replace('_', '-')} is missing; give the folder that holds {holds}")
    if not asked.table and asked.choose_minutes >= asked.minutes:
        parser.error("--choose-minutes must be below --minutes")
    return asked


def longest_runs(folder: Path) -> list[dict[str, Any]]:
    """The figures of the certified runs of most minutes, in the order of their files."""
    every = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))]
    runs = [run for run in every if "proved" in run]
    longest = max((run["minutes"] for run in runs), default=None)
    return [run for run in runs if run["minutes"] == longest]


def head(*names: str) -> str:
    """The first two lines of a table whose first columns are ``names``; the others are those of `row`."""
    radii = [format_eps(eps) for eps in GRID]
    columns = [*names, "temperature", "seeds", "images/s", "clean", *radii, "gradient / pair bound"]
    return f"| {' | '.join(columns)} |\n|" + "---|" * len(columns)


def row(names: Sequence[str], runs: Sequence[dict[str, Any]]) -> str:
    """Of runs that differ in their seeds: the means over them, and "-" where no image was certified."""
    ratios = [run["ratio"] for run in runs if run["ratio"] is not None]
    figures = [
        f"{runs[0]['temperature']:g}",
        f"{len(runs)}",
        f"{mean(run['images'] for run in runs) / (60 * runs[0]['minutes']):.0f}",
        f"{mean(run['clean'] for run in runs):.1f}",
        *(f"{mean(run['proved'][place] for run in runs):.1f}" for place in range(len(GRID))),
        f"{mean(ratios):.2f}" if ratios else "-",
    ]
    return f"| {' | '.join([*names, *figures])} |"
