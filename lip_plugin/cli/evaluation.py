"""``lip certify`` and ``lip compare``."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from lip_plugin.cli.ending import ended_together
from lip_plugin.cli.options import attack_options, attack_settings, evaluation_options
from lip_plugin.errors import SoundnessError
from lip_plugin.files import REPORT_FILES, Output, output_directory

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

    _evaluate(options, certify_images, {"lipschitz_audit": audit_lipschitz, "tightness": True})


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
    from lip_plugin.cli.selection import select_eps
    from lip_plugin.cli.task import run_task, select_task
    from lip_plugin.ranks import joined_ranks

    with joined_ranks(options["device"] or "cpu", gradients=False) as ranks, ended_together(ranks), ExitStack() as held:
        output = ranks.together(lambda: held.enter_context(_room(options)) if ranks.leads else None)
        task = ranks.leader_first(lambda: select_task(options, ranks, lambda card: select_eps(card, options["eps"])))
        try:
            report = run_task(task, evaluate, options, settings, ranks)
        except SoundnessError as error:
            _deliver(error.report, task, options, output, ranks)
            raise
        _deliver(report, task, options, output, ranks)


def _room(options: dict[str, Any]) -> AbstractContextManager[Output | None]:
    """For the report, before the work."""
    if options["out"] is None:
        return nullcontext()
    return output_directory(options["out"], replaceable=REPORT_FILES if options["overwrite"] else frozenset())


def _deliver(report: Any, task: Task, options: dict[str, Any], output: Output | None, ranks: Ranks) -> None:
    """The leader writes the report where asked and prints it; the others wait, or fail with it."""
    ranks.together(lambda: _write_and_print(report, task, options, output) if ranks.leads else None)


def _write_and_print(report: Any, task: Task, options: dict[str, Any], output: Output | None) -> None:
    """In this order: what has taken hours is not lost with a pipe that nobody reads."""
    from lip_plugin.cli.task import described_report
    from lip_plugin.report import fill_report, print_report, report_document

    described, no_page = described_report(report, task, options), None
    if output is not None:
        with output.filled() as folder:
            no_page = fill_report(described, folder, gallery=options.get("gallery"))
    if options["as_json"]:
        click.echo(json.dumps(report_document(described), indent=1, ensure_ascii=False))
        return
    print_report(described)
    if output is not None:
        click.echo(f"Report written to {options['out']}{f', without a page: {no_page}' if no_page else ''}")
