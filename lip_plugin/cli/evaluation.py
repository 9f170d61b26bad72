"""``lip certify`` and ``lip compare``."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from lip_plugin.cli.ending import ended_together
from lip_plugin.cli.options import attack_options, attack_settings, evaluation_options
from lip_plugin.errors import SoundnessError
from lip_plugin.files import REPORT_FILES, check_output_directory

if TYPE_CHECKING:
    from lip_plugin.cli.task import Task
    from lip_plugin.evaluate import Report
    from lip_plugin.ranks import Ranks

F_ = TypeVar("F_", bound=Callable[..., Any])


def _shared_options(command: F_) -> F_:
    """The options that certify and compare have in common."""
    command = click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")(command)
    command = click.option("--out", type=Path, help="Write report.json, points.csv, report.md and report.html here.")(
        command
    )
    return click.argument("name", required=False)(evaluation_options(command))


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
@attack_options
@click.option("--gallery/--no-gallery", default=None, help="Images in report.html (default: if their terms allow).")
def compare_command(**options: Any) -> None:
    """Prove a radius for every image and attack beside the proof.

    NAME is a zoo name or a model directory; without it, the shipped demo model on the shipped images.
    Exits with 1 where a certificate is contradicted; the report is written all the same.
    Several processes share the images: torchrun --nproc-per-node N -- $(which lip) compare ...
    """
    from lip_plugin.evaluate import compare_images

    _evaluate(options, compare_images, attack_settings(options))


def _evaluate(options: dict[str, Any], evaluate: Callable[..., Report], settings: dict[str, Any]) -> None:
    from lip_plugin.cli.task import run_task
    from lip_plugin.ranks import joined_ranks

    with joined_ranks(options["device"] or "cpu", gradients=False) as ranks, ended_together(ranks):
        task = ranks.leader_first(lambda: _select(options, ranks))
        try:
            report = run_task(task, evaluate, options, settings, ranks)
        except SoundnessError as error:
            _deliver(error.report, task, options, ranks)
            raise
        _deliver(report, task, options, ranks)


def _select(options: dict[str, Any], ranks: Ranks) -> Task:
    from lip_plugin.cli.selection import select_eps
    from lip_plugin.cli.task import select_task

    out: Path | None = options["out"]
    if out is not None and ranks.leads:
        check_output_directory(out, replaceable=REPORT_FILES if options["overwrite"] else frozenset())
    return select_task(options, ranks, lambda card: select_eps(card, options["eps"]))


def _deliver(report: Any, task: Task, options: dict[str, Any], ranks: Ranks) -> None:
    """The leader prints the report and writes it where asked; the others wait, or fail with it."""
    ranks.together(lambda: _print_and_write(report, task, options) if ranks.leads else None)


def _print_and_write(report: Any, task: Task, options: dict[str, Any]) -> None:
    from lip_plugin.cli.task import described_report
    from lip_plugin.report import print_report, report_document, write_report

    described = described_report(report, task, options)
    if options["as_json"]:
        click.echo(json.dumps(report_document(described), indent=1, ensure_ascii=False))
    else:
        print_report(described)
    if options["out"] is not None:
        gallery: bool | None = options.get("gallery")
        no_page = write_report(described, options["out"], overwrite=options["overwrite"], gallery=gallery)
        if not options["as_json"]:
            click.echo(f"Report written to {options['out']}{f', without a page: {no_page}' if no_page else ''}")
