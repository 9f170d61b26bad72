"""``lip certify`` and ``lip compare``."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lip_plugin.cli.options import Asked, attack_options, evaluation_options
from lip_plugin.cli.shared import Shared, shared_work
from lip_plugin.errors import SoundnessError
from lip_plugin.files import REPORT_FILES, Output, output_directory

if TYPE_CHECKING:
    from lip_plugin.cli.task import Task
    from lip_plugin.evaluate import Report
    from lip_plugin.ranks import Ranks


def _shared_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that certify and compare have in common."""
    command = click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")(command)
    command = click.option("--out", type=Path, help="Write report.json, points.csv, report.md and report.html here.")(
        command
    )
    return click.argument("name", required=False)(evaluation_options(command))


@dataclass(frozen=True)
class _Delivery:
    """Where the report goes, and in which form."""

    out: Path | None
    as_json: bool
    gallery: bool | None = None


@click.command("certify")
@_shared_options
@click.option("--audit-lipschitz", is_flag=True, help="Search for two points that refute the Lipschitz bound.")
def certify_command(asked: Asked, audit_lipschitz: bool, out: Path | None, as_json: bool) -> None:
    """Prove a radius for every image.

    NAME is a zoo name or a model directory; without it, the shipped demo model on the shipped images.
    With --audit-lipschitz, exits with 1 where the bound is refuted; the report is written all the same.
    Cores share the work (--jobs), GPUs too: torchrun --nproc-per-node N -- $(which lip) certify ...
    """
    _evaluate(asked, _Delivery(out, as_json), tightness=True, audit_lipschitz=audit_lipschitz)


@click.command("compare")
@_shared_options
@attack_options("nearest-first")
@click.option("--gallery/--no-gallery", default=None, help="Images in report.html (default: if their terms allow).")
def compare_command(asked: Asked, out: Path | None, as_json: bool, gallery: bool | None) -> None:
    """Prove a radius for every image and attack beside the proof.

    NAME is a zoo name or a model directory; without it, the shipped demo model on the shipped images.
    nearest-first searches for the closest point, then runs AutoAttack on what still stands; adaptive runs it only
    where the search came within 5 % of eps, and is no AutoAttack. Others: autoattack, foolbox:FMN, torchattacks:CW, ...
    Exits with 1 where a certificate is contradicted; the report is written all the same.
    Cores share the work (--jobs), GPUs too: torchrun --nproc-per-node N -- $(which lip) compare ...
    """
    _evaluate(asked, _Delivery(out, as_json, gallery))


def _evaluate(asked: Asked, delivery: _Delivery, **settings: bool) -> None:
    """``settings`` are those of `Request.of` that only one of the commands has."""

    def select(ranks: Ranks) -> Task:
        from lip_plugin.cli.selection import select_eps
        from lip_plugin.cli.task import select_task

        return select_task(asked, ranks, lambda card: asked.request(select_eps(card, asked.eps), **settings))

    with shared_work(asked, select, _room(delivery.out, overwrite=asked.overwrite)) as shared:
        try:
            report = shared.task.evaluated(shared.ranks)
        except SoundnessError as error:
            _deliver(error.report, delivery, shared)
            raise
        _deliver(report, delivery, shared)


def _room(out: Path | None, *, overwrite: bool) -> AbstractContextManager[Output | None]:
    """For the report, before the work."""
    if out is None:
        return nullcontext()
    return output_directory(out, replaceable=REPORT_FILES if overwrite else frozenset())


def _deliver(report: Any, delivery: _Delivery, shared: Shared) -> None:
    """The leader writes the report where asked and prints it; the others wait, or fail with it."""
    ranks, task = shared.ranks, shared.task
    ranks.together(lambda: _write_and_print(task.described(report), delivery, shared.output) if ranks.leads else None)


def _write_and_print(report: Report, delivery: _Delivery, output: Output | None) -> None:
    """In this order: what has taken hours is not lost with a pipe that nobody reads."""
    from lip_plugin.report import fill_report, print_report, report_document

    no_page = None
    if output is not None:
        with output.filled() as folder:
            no_page = fill_report(report, folder, gallery=delivery.gallery)
    if delivery.as_json:
        click.echo(json.dumps(report_document(report), indent=1, ensure_ascii=False))
        return
    print_report(report)
    if output is not None:
        click.echo(f"Report written to {delivery.out}{f', without a page: {no_page}' if no_page else ''}")
