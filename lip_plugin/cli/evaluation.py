"""``lip certify`` and ``lip compare``."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Generator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lip_plugin.cli.options import Asked, attack_options, evaluation_options, resume_option
from lip_plugin.cli.partial import discard, kept_work, partial_folder
from lip_plugin.cli.parts import is_finished, parse_part, part_directory, write_part
from lip_plugin.cli.shared import Shared, shared_work
from lip_plugin.errors import ConfigError, SoundnessError
from lip_plugin.files import REPORT_FILES, Output, output_directory

if TYPE_CHECKING:
    from lip_plugin.cli.task import Task
    from lip_plugin.evaluate import Report
    from lip_plugin.evaluate.blocks import Part
    from lip_plugin.ranks import Ranks


def _shared_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that certify and compare have in common."""
    command = click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")(command)
    command = click.option("--part", help="I/N: do part I of N, for lip merge to join.")(command)
    command = resume_option(command)
    command = click.option("--out", type=Path, help="Write report.json, points.csv, report.md and report.html here.")(
        command
    )
    return click.argument("name", required=False)(evaluation_options(command))


@dataclass(frozen=True)
class Delivery:
    """Where the report goes, and in which form. ``part``: that part alone is done; ``parts`` are done already."""

    out: Path | None
    as_json: bool
    resume: bool
    gallery: bool | None = None
    part: Part | None = None
    parts: tuple[Path, ...] = ()

    @property
    def journal(self) -> Path | None:
        return None if self.out is None else partial_folder(self.out)


@click.command("certify")
@_shared_options
@click.option("--audit-lipschitz", is_flag=True, help="Search for two points that refute the Lipschitz bound.")
def certify_command(
    asked: Asked, audit_lipschitz: bool, out: Path | None, resume: bool, part: str | None, as_json: bool
) -> None:
    """Prove a radius for every image.

    NAME is a zoo name or a model directory; without it, the shipped demo model on the shipped images.
    With --audit-lipschitz, exits with 1 where the bound is refuted; the report is written all the same.
    Cores share the work (--jobs), GPUs too: torchrun --nproc-per-node N -- $(which lip) certify ...
    """
    delivery = Delivery(out, as_json, resume, part=parse_part(part))
    evaluate(asked, delivery, tightness=True, audit_lipschitz=audit_lipschitz)


@click.command("compare")
@_shared_options
@attack_options("nearest-first")
@click.option("--gallery/--no-gallery", default=None, help="Images in report.html (default: if their terms allow).")
def compare_command(
    asked: Asked, out: Path | None, resume: bool, part: str | None, as_json: bool, gallery: bool | None
) -> None:
    """Prove a radius for every image and attack beside the proof.

    NAME is a zoo name or a model directory; without it, the shipped demo model on the shipped images.
    nearest-first searches for the closest point, then runs AutoAttack on what still stands; adaptive runs it only
    where the search came within 5 % of eps, and is no AutoAttack. Others: autoattack, foolbox:FMN, torchattacks:CW, ...
    Exits with 1 where a certificate is contradicted; the report is written all the same.
    Cores share the work (--jobs), GPUs too: torchrun --nproc-per-node N -- $(which lip) compare ...
    """
    evaluate(asked, Delivery(out, as_json, resume, gallery, parse_part(part)))


def evaluate(asked: Asked, delivery: Delivery, **settings: bool) -> None:
    """``settings`` are those of `Request.of` that only one of the commands has."""

    def select(ranks: Ranks) -> Task:
        from lip_plugin.cli.selection import select_eps
        from lip_plugin.cli.task import select_task

        return select_task(asked, ranks, lambda card: asked.request(select_eps(card, asked.eps), **settings))

    part, out = delivery.part, delivery.out
    if part is not None and out is not None and delivery.resume and is_finished(part, out, asked, settings):
        if os.environ.get("RANK", "0") == "0":  # torchrun's processes have not met yet
            click.echo(f"Part {part.index + 1} of {part.of} is in {out} already")
        return
    with shared_work(asked, select, _room(delivery, overwrite=asked.overwrite)) as shared:
        if part is not None and out is not None:
            write_part(shared.task, part, out, settings, shared.output, shared.ranks)
            return
        try:
            report = shared.task.evaluated(shared.ranks, delivery.journal, delivery.parts)
        except SoundnessError as error:
            _deliver(error.report, delivery, shared)
            raise
        _deliver(report, delivery, shared)


@contextmanager
def _room(delivery: Delivery, *, overwrite: bool) -> Generator[Output | None]:
    """For the report and for what is finished of it, before the work."""
    out, replaceable = delivery.out, REPORT_FILES if overwrite else frozenset[str]()
    if delivery.part is not None and (out is None or delivery.as_json):
        raise ConfigError("--part writes no report but its share of the work; give --out DIR, and --json to lip merge")
    if out is None:
        room = nullcontext()
    elif delivery.part is not None and overwrite:
        room = part_directory(out)
    else:
        room = output_directory(out, replaceable=replaceable)
    with room as output, kept_work(out, resume=delivery.resume):
        yield output


def _deliver(report: Any, delivery: Delivery, shared: Shared) -> None:
    """The leader writes the report where asked and prints it; the others wait, or fail with it."""
    ranks, task = shared.ranks, shared.task
    ranks.together(lambda: _write_and_print(task.described(report), delivery, shared.output) if ranks.leads else None)


def _write_and_print(report: Report, delivery: Delivery, output: Output | None) -> None:
    """In this order: what has taken hours is not lost with a pipe that nobody reads."""
    from lip_plugin.report import fill_report, print_report, report_document

    no_page = None
    if output is not None:
        with output.filled() as folder:
            no_page = fill_report(report, folder, gallery=delivery.gallery)
        discard(output.directory)
    if delivery.as_json:
        click.echo(json.dumps(report_document(report), indent=1, ensure_ascii=False))
        return
    print_report(report)
    if output is not None:
        click.echo(f"Report written to {delivery.out}{f', without a page: {no_page}' if no_page else ''}")
