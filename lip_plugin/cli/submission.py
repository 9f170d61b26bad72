"""``lip submit``."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lip_plugin.cli.options import Asked, attack_options, evaluation_options, resume_option
from lip_plugin.cli.partial import discard, kept_work, partial_folder
from lip_plugin.cli.shared import shared_work
from lip_plugin.errors import RefusedError, SoundnessError

if TYPE_CHECKING:
    from lip_plugin.cli.task import Task
    from lip_plugin.evaluate import Report, Request
    from lip_plugin.files import Output
    from lip_plugin.ranks import Ranks
    from lip_plugin.submission.boards import Board
    from lip_plugin.submission.manifest import Manifest
    from lip_plugin.submission.submission import Submission
    from lip_plugin.zoo import ModelCard


@click.command("submit")
@click.argument("name")
@click.option("--board", required=True, help="Who is to read it: robustbench, sok, or own (any model of our zoo).")
@click.option("--out", type=Path, required=True, help="Write the bundle here.")
@resume_option
@evaluation_options
@attack_options("autoattack")
@click.option("--include-images", is_flag=True, help="Put the images in, too: only where their terms allow it.")
def submit_command(asked: Asked, board: str, out: Path, resume: bool, include_images: bool) -> None:
    """Evaluate a model and write everything that a board needs of it, ready for `lip verify`.

    NAME is a zoo name or a model directory. --eps defaults to the card's radii with 36/255, 72/255, 108/255 and 0.5.
    Exits with 1, and writes nothing, where the board would refuse the bundle or a certificate is contradicted.
    Cores share the work (--jobs), GPUs too: torchrun --nproc-per-node N -- $(which lip) submit ...
    """
    from lip_plugin.submission.boards.registry import get_board

    reader = get_board(board)
    room = _room(out, overwrite=asked.overwrite, resume=resume)
    with shared_work(asked, lambda ranks: _select(reader, asked, ranks), room) as shared:
        ranks, task, output = shared.ranks, shared.task, shared.output
        try:
            report = task.evaluated(ranks, partial_folder(out))
        except SoundnessError as error:
            found = error.report
            ranks.together(lambda: _end(task.described(found), out) if ranks.leads else None)
            raise
        ranks.together(lambda: None if output is None else _submit(reader, report, task, output, out, include_images))


@contextmanager
def _room(out: Path, *, overwrite: bool, resume: bool) -> Generator[Output]:
    """For the bundle and for what is finished of it, before the work."""
    from lip_plugin.submission.write import bundle_directory

    with bundle_directory(out, overwrite=overwrite) as output, kept_work(out, resume=resume):
        yield output


def _select(board: Board, asked: Asked, ranks: Ranks) -> Task:
    """Everything that can be wrong before the work, and whatever the board is known to refuse."""
    from lip_plugin.cli.selection import typed_eps
    from lip_plugin.cli.task import select_task
    from lip_plugin.submission.evaluation import (
        require_accepted_before,
        require_free_attacks,
        stored_card,
        submission_eps,
    )

    require_free_attacks(board, asked.attack_names)
    chosen = None if asked.eps is None else typed_eps(asked.eps)

    def requested(card: ModelCard) -> Request:
        grid = submission_eps(board, card, chosen)
        return asked.request(grid, skip_certified=not board.full_protocol, pictures=None)

    task = select_task(asked, ranks, requested)
    task = dataclasses.replace(task, card=stored_card(task.card, task.model))
    require_accepted_before(board, task.card, task.model, task.images)
    return task


def _submit(board: Board, report: Report, task: Task, output: Output, out: Path, include_images: bool) -> None:
    from lip_plugin.submission.evaluation import make_submission, require_accepted_after
    from lip_plugin.submission.layout import PERTURBATIONS
    from lip_plugin.submission.write import fill_bundle

    described = task.described(report)
    try:
        with output.filled() as folder:
            model, images = task.model, task.images
            submission, points = make_submission(board, task.card, model, images, described, folder / PERTURBATIONS)
            require_accepted_after(board, submission)
            written = fill_bundle(submission, points, images, folder, include_images=include_images)
    except (SoundnessError, RefusedError):  # the report says why
        _end(described, out)
        raise
    _end(described, out)
    _say(submission, written, out, () if include_images else task.asked.again())


def _end(report: Report, out: Path) -> None:
    """In this order: a pipe that nobody reads must not leave anything beside what was written."""
    from lip_plugin.report import print_report

    discard(out)
    print_report(report)


def _say(submission: Submission, written: Manifest, out: Path, images: Iterable[str]) -> None:
    from lip_plugin.submission.boards.registry import BOARDS

    files = written.files
    size = sum(record.bytes for record in files.values()) / 2**20
    click.echo(f"Bundle of {len(files) + 1} files, {size:.1f} MiB, written to {out}")
    for board in BOARDS:
        why = "; ".join(map(str, board.refusals_after(submission)))
        click.echo(f"{board.title} {f'would refuse it: {why}' if why else 'would take it'}")
    click.echo(f"Check it: {shlex.join(['lip', 'verify', str(out), *images])}")
