"""``lip certify`` and ``lip compare``."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from lip_plugin.cli.ending import ended_together
from lip_plugin.cli.reproduce import command_line
from lip_plugin.errors import SoundnessError
from lip_plugin.files import REPORT_FILES, check_output_directory

if TYPE_CHECKING:
    from lip_plugin.data import LabelledImages
    from lip_plugin.evaluate import Report
    from lip_plugin.network import CertifiedClassifier
    from lip_plugin.ranks import Ranks
    from lip_plugin.zoo import ModelCard

F_ = TypeVar("F_", bound=Callable[..., Any])


def _shared_options(command: F_) -> F_:
    """The options that certify and compare have in common."""
    options = (
        click.argument("name", required=False),
        click.option("--dataset", help="Which one, where the name exists for several data sets."),
        click.option("--data-dir", help="Folder with the data set's own files."),
        click.option("--data", "data_file", help="Your own images: .npz with x (uint8 or float in [0,1]) and y."),
        click.option("--n", "count", type=int, help="The first N images in file order (default: all)."),
        click.option("--eps", help="L2 radii such as 36/255,72/255 (default: the card's)."),
        click.option("--arithmetic", default="real", help="real (default), float64, float32 or plain_float32."),
        click.option("--batch-size", type=int, help="Images per work unit (default 256)."),
        click.option("--workers", type=click.IntRange(0), default=0, help="Processes that decode pictures (imagenet)."),
        click.option("--device", help="Device of the forwards (default cpu)."),
        click.option("--out", type=Path, help="Write report.json, points.csv, report.md and report.html here."),
        click.option("--overwrite", is_flag=True, help="Replace an existing --out."),
        click.option("--json", "as_json", is_flag=True, help="Print the report as JSON."),
        click.option("--quiet", is_flag=True, help="No progress bar."),
    )
    for option in reversed(options):
        command = option(command)
    return command


@click.command("certify")
@_shared_options
@click.option("--audit-lipschitz", is_flag=True, help="Search for two points that refute the Lipschitz bound.")
def certify_command(audit_lipschitz: bool, **options: Any) -> None:
    """Prove a radius for every image.

    NAME is a zoo name or a model directory; without it, the shipped demo model on the shipped images.
    With --audit-lipschitz, exits with 1 where the bound is refuted; the report is written all the same.
    Several processes share the images: torchrun --nproc-per-node N -- $(which lip) certify ...
    """
    from lip_plugin.evaluate import certify_images

    _evaluate(options, certify_images, {"lipschitz_audit": audit_lipschitz})


@click.command("compare")
@_shared_options
@click.option("--attacks", default="autoattack", show_default=True, help="Comma-separated attack specifications.")
@click.option("--audit", default="8", show_default=True, help="Certified images to attack per eps, or all.")
@click.option("--gallery/--no-gallery", default=None, help="Images in report.html (default: if their terms allow).")
@click.option("--no-skip-certified", is_flag=True, help="Attack certified images too (the full protocol).")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of every random draw.")
def compare_command(attacks: str, audit: str, no_skip_certified: bool, seed: int, **options: Any) -> None:
    """Prove a radius for every image and attack beside the proof.

    NAME is a zoo name or a model directory; without it, the shipped demo model on the shipped images.
    Exits with 1 where a certificate is contradicted; the report is written all the same.
    Several processes share the images: torchrun --nproc-per-node N -- $(which lip) compare ...
    """
    from lip_plugin.evaluate import compare_images

    chosen = [spec.strip() for spec in attacks.split(",") if spec.strip()]
    settings = {"attacks": chosen, "audit": audit, "skip_certified": not no_skip_certified, "seed": seed}
    _evaluate(options, compare_images, settings)


def _evaluate(options: dict[str, Any], evaluate: Callable[..., Report], settings: dict[str, Any]) -> None:
    from lip_plugin.ranks import joined_ranks

    with joined_ranks(options["device"] or "cpu", gradients=False) as ranks, ended_together(ranks):
        task = ranks.leader_first(lambda: _select(options, ranks))
        try:
            report = evaluate(
                task.model,
                task.images,
                eps=task.eps,
                arithmetic=options["arithmetic"],
                batch_size=options["batch_size"],
                ranks=ranks,
                progress=not options["quiet"],
                **settings,
            )
        except SoundnessError as error:
            _deliver(error.report, task, options, ranks)
            raise
        _deliver(report, task, options, ranks)


@dataclass(frozen=True)
class _Task:
    model: CertifiedClassifier
    card: ModelCard
    images: LabelledImages
    eps: tuple[float, ...]


def _select(options: dict[str, Any], ranks: Ranks) -> _Task:
    from lip_plugin.cli.selection import select_eps, select_images, select_model

    out: Path | None = options["out"]
    if out is not None and ranks.leads:
        check_output_directory(out, replaceable=REPORT_FILES if options["overwrite"] else frozenset())
    device: str | None = options["device"]
    if ranks.world > 1 and device is not None and device.startswith("cuda"):
        device = "cuda"  # each process its own
    model, card = select_model(options["name"], options["dataset"], device)
    images = select_images(card, options["data_dir"], options["data_file"], options["count"], options["workers"])
    return _Task(model, card, images, select_eps(card, options["eps"]))


def _deliver(report: Any, task: _Task, options: dict[str, Any], ranks: Ranks) -> None:
    """The leader prints the report and writes it where asked; the others wait, or fail with it."""
    ranks.together(lambda: _print_and_write(report, task, options) if ranks.leads else None)


def _print_and_write(report: Any, task: _Task, options: dict[str, Any]) -> None:
    from lip_plugin.evaluate.results import summarise_model
    from lip_plugin.report import print_report, report_document, write_report

    card = task.card
    summary = summarise_model(task.model, name=card.name, architecture=card.architecture or "", sha256=card.sha256)
    described: Report = report.described(model=summary)
    described = described.described(command=command_line(described, options["name"], options))
    if options["as_json"]:
        click.echo(json.dumps(report_document(described), indent=1, ensure_ascii=False))
    else:
        print_report(described)
    if options["out"] is not None:
        gallery: bool | None = options.get("gallery")
        no_page = write_report(described, options["out"], overwrite=options["overwrite"], gallery=gallery)
        if not options["as_json"]:
            click.echo(f"Report written to {options['out']}{f', without a page: {no_page}' if no_page else ''}")
