"""Which family, measured: every one trained for the same CPU time, each at the temperature that suits it.

    python benchmarks/families.py --data-dir DIR --out runs/families [--minutes 20] [--choose-minutes 2] [--families ..]

One thread. Batches come in the same order for all; radius ramp and learning rate follow the CPU time that is used up,
so that a slow family sees fewer images and ends with the same schedule. 10,000 training images are kept aside: one
half chooses the temperature (quarters and fourfolds of 1, by hill climbing, in runs of ``--choose-minutes``, with
the proved bound in float32), the other half is certified and reported. Every run leaves one JSON file in ``--out`` and
is not repeated; several processes may share the families among themselves. The table is of the files that are there:
``--table`` prints it alone.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import time
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from statistics import mean
from typing import Any

import torch

from lip_plugin.certificates import pair_lipschitz_upper_bound
from lip_plugin.data import ImageSet
from lip_plugin.evaluate import Request, evaluate_images
from lip_plugin.models import freeze
from lip_plugin.network import CertifiedClassifier
from lip_plugin.ranks import Ranks
from lip_plugin.train.config import TrainConfig, load_config
from lip_plugin.train.precision import with_settled_precision
from lip_plugin.train.schedule import eps_at, learning_rate_at
from lip_plugin.train.sources import batch_source
from lip_plugin.train.splits import load_splits
from lip_plugin.train.state import TrainState, initial_state
from lip_plugin.train.step import train_step
from lip_plugin.types import format_eps

HELD_OUT = 10_000
GRID = (36 / 255, 72 / 255, 108 / 255)
"""Radii of the table; the first one chooses the temperature."""
FAMILIES: dict[str, tuple[str, ...]] = {
    "LiResNet++": ("cifar10_small",),
    "LiResNet++, orthogonal stem": ("cifar10_small", "model.stem=patches"),
    "BRONet": ("cifar10_small_bronet", "loss=emma"),
    "LipNeXt": ("cifar10_small_lipnext",),
    **{block: ("cifar10_comparison", f"model.block={block}") for block in ("sll", "cpl", "aol", "cayley", "soc")},
}
"""A recipe and what is changed in it. Each has its own width, rates and weight decay, all the same images and loss."""
FIRST_TEMPERATURE = 1.0
STEP = 4.0


@dataclass(frozen=True)
class Run:
    """One training: which family, at which temperature, for how long, and from which seed."""

    family: str
    temperature: float
    minutes: float
    seed: int

    @property
    def file(self) -> str:
        name = "".join(letter if letter.isalnum() else "_" for letter in self.family)
        return f"{name}-T{self.temperature:g}-{self.minutes:g}min-seed{self.seed}.json"

    def config(self, data_dir: str) -> TrainConfig:
        recipe, *changes = FAMILIES[self.family]
        shared = [f"data_dir={data_dir}", f"held_out={HELD_OUT}", "batch_size=128", f"temperature={self.temperature}"]
        return with_settled_precision(load_config(recipe, [*changes, *shared, f"seed={self.seed}"]))


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
    source = batch_source(config, images.training, Ranks())
    state = initial_state(config, input_shape=images.training.image_shape, num_classes=10)
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


def measured(run: Run, data_dir: str, folder: Path, *, certified: bool) -> dict[str, Any]:
    """The figures of a run, from its file if it has been made. Accuracies in percent."""
    path = folder / run.file
    if not path.exists():
        config = run.config(data_dir)
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


def chosen_temperature(family: str, minutes: float, data_dir: str, folder: Path) -> float:
    """The best by VRA at the first radius on the choosing images: quarters or fourfolds while that improves."""

    def score(temperature: float) -> float:
        found: float = measured(Run(family, temperature, minutes, 0), data_dir, folder, certified=False)["choosing"]
        return found

    best = FIRST_TEMPERATURE
    for factor in (1 / STEP, STEP):
        while score(best * factor) > score(best):
            best *= factor
        if best != FIRST_TEMPERATURE:
            break  # it went up on this side
    return best


def table(folder: Path) -> str:
    """Of the longest runs of every family; the mean over seeds."""
    every = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))]
    runs = [run for run in every if "proved" in run]
    longest = max(run["minutes"] for run in runs)
    radii = " | ".join(format_eps(eps) for eps in GRID)
    lines = [
        f"| family | parameters | temperature | seeds | images/s | clean | {radii} | gradient / pair bound |",
        "|" + "---|" * (7 + len(GRID)),
    ]
    for family in FAMILIES:
        ours = [run for run in runs if run["family"] == family and run["minutes"] == longest]
        if ours:
            proved = " | ".join(f"{mean(run['proved'][i] for run in ours):.1f}" for i in range(len(GRID)))
            speed = mean(run["images"] for run in ours) / (60 * longest)
            lines.append(
                f"| {family} | {ours[0]['parameters'] / 1e6:.2f} M | {ours[0]['temperature']:g} | {len(ours)} | "
                f"{speed:.0f} | {mean(run['clean'] for run in ours):.1f} | {proved} | "
                f"{mean(run['ratio'] for run in ours):.2f} |"
            )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--choose-minutes", type=float, default=2.0)
    parser.add_argument("--families", nargs="+", choices=list(FAMILIES), default=list(FAMILIES))
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--table", action="store_true")
    asked = parser.parse_args()
    if not asked.table:
        if asked.data_dir is None:
            parser.error("--data-dir is missing; give the folder that holds the CIFAR-10 files")
        if asked.choose_minutes >= asked.minutes:
            parser.error("--choose-minutes must be below --minutes")
        torch.set_num_threads(1)
        asked.out.mkdir(parents=True, exist_ok=True)
        for family in asked.families:
            temperature = chosen_temperature(family, asked.choose_minutes, asked.data_dir, asked.out)
            for seed in range(asked.seeds):
                measured(Run(family, temperature, asked.minutes, seed), asked.data_dir, asked.out, certified=True)
    print(table(asked.out))


if __name__ == "__main__":
    main()
