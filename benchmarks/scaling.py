"""The tables of docs/scaling.md: what the published ImageNet networks cost, how long that would take, and how far off
such estimates were where they could be measured (results/cost/model.json, which cost_model.py writes).

usage: python benchmarks/scaling.py
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import torch

from lip_plugin.cost.attacks import attack_cost
from lip_plugin.cost.flops import Flops, seconds_estimate
from lip_plugin.cost.step import StepCost
from lip_plugin.cost.subject import Subject, subject_of

PAGE = Path(__file__).parents[1] / "docs" / "scaling.md"
RESULTS = Path(__file__).parent / "results" / "cost" / "model.json"

NETWORKS = {
    "LiResNet L12 W588": ("imagenet_neurips", "bfloat16=true"),
    "LiResNet++ L12 W588": ("imagenet", "bfloat16=true"),
    "LipNeXt 1B (L32 W4096)": ("imagenet_lipnext", "model.width=4096", "bfloat16=true"),
}
PUBLISHED_MINUTES = (5.3, None, 8.9)
"""Of an epoch on eight H100: LipNeXt (arXiv 2601.18513), its table of ImageNet, second-hand."""
GPUS, TRAINING_IMAGES, IMAGES, BOARD_IMAGES, BOARD_RADII = 8, 1_281_167, 50_000, 5_000, 4
SPEED = {
    dtype: 0.4 * peak for dtype, peak in ((torch.bfloat16, 989e12), (torch.float32, 67e12), (torch.float64, 67e12))
}


def tables() -> dict[str, str]:
    """Markdown by the name of its place in the page."""
    subjects = [subject_of(recipe, settings, processes=GPUS) for recipe, *settings in NETWORKS.values()]
    return {
        "costs": _table(["of one image or one step", *NETWORKS], _costs(subjects)),
        "times": _table(["estimated", *NETWORKS], _times(subjects)),
        "errors": _table(["", "seconds", "bytes"], _errors()),
    }


def _costs(subjects: Sequence[Subject]) -> Iterator[list[str]]:
    steps = [_step(subject) for subject in subjects]
    networks = [subject.network for subject in subjects]
    yield ["parameters", *(f"{step.parameters / 1e6:,.0f} M" for step in steps)]
    yield ["forward", *(_operations(network.forward) for network in networks)]
    yield ["certificate, at least", *(_operations(network.certificate) for network in networks)]
    yield ["proof of the quick bound, once", *(_operations(network.proof) for network in networks)]
    yield ["training step, for each image", *(_operations(step.per_image) for step in steps)]
    yield ["training step, whatever the batch", *(_operations(step.per_step) for step in steps)]
    yield [f"memory of a step of {steps[0].batch} images", *(f"{step.peak / 1e9:.1f} GB" for step in steps)]
    yield ["of which between steps", *(f"{step.lasting / 1e9:.1f} GB" for step in steps)]


def _step(subject: Subject) -> StepCost:
    assert subject.step is not None
    return subject.step


def _operations(flops: Flops) -> str:
    named = {"bf16": flops[torch.bfloat16], "f32": flops[torch.float32], "f64": flops[torch.float64]}
    shown = (f"{count / 1e9:,.3g} {name}" for name, count in named.items() if count >= 0.001 * flops.total())
    return (
        ", ".join(re.sub(r"[\d.]+e\+\d+", lambda found: f"{float(found[0]):,.0f}", text) for text in shown) + " GFLOP"
    )


def _times(subjects: Sequence[Subject]) -> Iterator[list[str]]:
    epochs = [subject.training_seconds_estimate(TRAINING_IMAGES, SPEED) / 400 for subject in subjects]
    yield ["training, an epoch", *(f"{seconds / 60:.1f} minutes" for seconds in epochs)]
    yield ["the same, published", *("-" if minutes is None else f"{minutes} minutes" for minutes in PUBLISHED_MINUTES)]
    yield ["training, 400 epochs", *(f"{400 * seconds / 3600:.0f} hours" for seconds in epochs)]
    networks = [subject.network for subject in subjects]
    shares = [seconds_estimate(network.certificate, SPEED) * IMAGES / GPUS for network in networks]
    proofs = [seconds_estimate(network.proof, SPEED) for network in networks]
    yield ["proof, on one", *(f"{seconds:.1f} s" for seconds in proofs)]
    yield [f"{IMAGES:,} certificates", *(f"{seconds:.0f} s" for seconds in shares)]
    forwards = attack_cost("autoattack").always * BOARD_IMAGES / GPUS
    attacks = [forwards * seconds_estimate(network.forward, SPEED) for network in networks]
    yield ["AutoAttack at 0.5 alone", *(f"{seconds / 3600:.1f} hours" for seconds in attacks)]
    yield [f"at {BOARD_RADII} radii", *(f"{BOARD_RADII * seconds / 3600:.1f} hours" for seconds in attacks)]


def _errors() -> Iterator[list[str]]:
    results = json.loads(RESULTS.read_text(encoding="utf-8"))["results"]
    for kind in ("training step", "forward", "certificates", "proof"):
        rows = [result for result in results if result["what"].startswith(kind)]
        of_bytes = [row["bytes_error"] for row in rows if "bytes_error" in row]
        yield [kind, _range(row["seconds_error"] for row in rows), _range(of_bytes) if of_bytes else "-"]


def _range(errors: Iterable[float]) -> str:
    values = sorted(errors)
    return f"{values[0]:+.0f} to {values[-1]:+.0f} %"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def with_tables(page: str) -> str:
    for name, table in tables().items():
        head, _, rest = page.partition(f"<!-- {name} -->\n")
        page = f"{head}<!-- {name} -->\n{table}<!-- /{name} -->{rest.partition(f'<!-- /{name} -->')[2]}"
    return page


def main() -> None:
    PAGE.write_text(with_tables(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
