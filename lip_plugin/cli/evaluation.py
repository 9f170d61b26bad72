"""``lip certify`` and ``lip compare``."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from lip_plugin.errors import SoundnessError
from lip_plugin.files import REPORT_FILES, check_output_directory

if TYPE_CHECKING:
    from lip_plugin.data import ImageSet
    from lip_plugin.evaluate import Report
    from lip_plugin.network import CertifiedClassifier
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
        click.option("--arithmetic", default="real", show_default=True, help="real or float64."),
        click.option("--batch-size", type=int, help="Images per work unit (default 256)."),
        click.option("--device", help="Device of the forwards (default cpu)."),
        click.option("--out", type=Path, help="Write report.json, points.csv and report.md to this directory."),
        click.option("--overwrite", is_flag=True, help="Replace an existing --out."),
        click.option("--json", "as_json", is_flag=True, help="Print the report as JSON."),
        click.option("--quiet", is_flag=True, help="No progress bar."),
    )
    for option in reversed(options):
        command = option(command)
    return command


@click.command("certify")
@_shared_options
def certify_command(**options: Any) -> None:
    """Prove a radius for every image.

    NAME is a zoo name or a model directory; without it, the shipped demo model on the shipped images.
    """
    from lip_plugin.evaluate import certify_report

    _evaluate(options, certify_report, {})


@click.command("compare")
@_shared_options
@click.option("--attacks", default="autoattack", show_default=True, help="Comma-separated attack specifications.")
@click.option("--audit", default="8", show_default=True, help="Certified images to attack per eps, or all.")
@click.option("--no-skip-certified", is_flag=True, help="Attack certified images too (the full protocol).")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of every random draw.")
def compare_command(attacks: str, audit: str, no_skip_certified: bool, seed: int, **options: Any) -> None:
    """Prove a radius for every image and attack beside the proof.

    NAME is a zoo name or a model directory; without it, the shipped demo model on the shipped images.
    Exits with 1 where a certificate is contradicted; the report is written all the same.
    """
    from lip_plugin.evaluate import compare

    chosen = [spec.strip() for spec in attacks.split(",") if spec.strip()]
    settings = {"attacks": chosen, "audit": audit, "skip_certified": not no_skip_certified, "seed": seed}
    _evaluate(options, compare, settings)


def _evaluate(options: dict[str, Any], evaluate: Callable[..., Report], settings: dict[str, Any]) -> None:
    from lip_plugin.cli.selection import select_eps, select_images, select_model

    out: Path | None = options["out"]
    if out is not None:
        check_output_directory(out, replaceable=REPORT_FILES if options["overwrite"] else frozenset())
    model, card = select_model(options["name"], options["dataset"], options["device"])
    images = select_images(card, options["data_dir"], options["data_file"], options["count"])
    eps = select_eps(card, options["eps"])
    x, y = images.tensors(model.dtype)
    try:
        report = evaluate(
            model,
            x,
            y,
            eps=eps,
            arithmetic=options["arithmetic"],
            batch_size=options["batch_size"],
            progress=not options["quiet"],
            **settings,
        )
    except SoundnessError as error:
        _deliver(error.report, model, card, images, options)
        raise
    _deliver(report, model, card, images, options)


def _deliver(
    report: Any, model: CertifiedClassifier, card: ModelCard, images: ImageSet, options: dict[str, Any]
) -> None:
    """Print the report and write it where asked."""
    from lip_plugin.evaluate import DatasetSummary
    from lip_plugin.evaluate.results import summarise_model
    from lip_plugin.report import print_report, report_document, write_report

    summary = summarise_model(model, name=card.name, architecture=card.architecture or "", sha256=card.sha256)
    described: Report = report.described(
        model=summary, dataset=DatasetSummary(images.name, images.split, len(images), images.source)
    )
    if options["as_json"]:
        click.echo(json.dumps(report_document(described), indent=1, ensure_ascii=False))
    else:
        print_report(described)
    if options["out"] is not None:
        write_report(described, options["out"], overwrite=options["overwrite"])
        if not options["as_json"]:
            click.echo(f"Report written to {options['out']}")
