"""``lip submit``."""

from __future__ import annotations

import dataclasses
import shlex
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lip_plugin.cli.ending import ended_together
from lip_plugin.cli.options import attack_options, attack_settings, evaluation_options
from lip_plugin.errors import SoundnessError

if TYPE_CHECKING:
    from lip_plugin.cli.task import Task
    from lip_plugin.evaluate import Report
    from lip_plugin.files import Output
    from lip_plugin.ranks import Ranks
    from lip_plugin.submission.boards import Board
    from lip_plugin.submission.manifest import Manifest
    from lip_plugin.submission.submission import Submission


@click.command("submit")
@click.argument("name")
@click.option("--board", required=True, help="Who is to read it: robustbench, sok, or own (any model of our zoo).")
@click.option("--out", type=Path, required=True, help="Write the bundle here.")
@evaluation_options
@attack_options
@click.option("--include-images", is_flag=True, help="Put the images in, too: only where their terms allow it.")
def submit_command(**options: Any) -> None:
    """Evaluate a model and write everything that a board needs of it, ready for `lip verify`.

    NAME is a zoo name or a model directory. --eps defaults to the card's radii with 36/255, 72/255, 108/255 and 0.5.
    Exits with 1, and writes nothing, where the board would refuse the bundle or a certificate is contradicted.
    Several processes share the images: torchrun --nproc-per-node N -- $(which lip) submit ...
    """
    from lip_plugin.cli.task import run_task
    from lip_plugin.evaluate import compare_images
    from lip_plugin.ranks import joined_ranks
    from lip_plugin.submission.boards.registry import get_board
    from lip_plugin.submission.write import bundle_directory

    with joined_ranks(options["device"] or "cpu", gradients=False) as ranks, ended_together(ranks), ExitStack() as held:
        board = get_board(options["board"])
        room = bundle_directory(options["out"], overwrite=options["overwrite"])
        output = ranks.together(lambda: held.enter_context(room) if ranks.leads else None)
        task = ranks.leader_first(lambda: _select(board, options, ranks))
        settings: dict[str, Any] = {**attack_settings(options), "pictures": None}
        if board.full_protocol:
            settings["skip_certified"] = False
        try:
            report = run_task(task, compare_images, options, settings, ranks)
        except SoundnessError as error:
            _show(error.report, task, options, ranks)
            raise
        ranks.together(lambda: None if output is None else _submit(board, report, task, options, output))


def _select(board: Board, options: dict[str, Any], ranks: Ranks) -> Task:
    """Everything that can be wrong before the work, and whatever the board is known to refuse."""
    from lip_plugin.cli.task import select_task
    from lip_plugin.submission.evaluation import (
        require_accepted_before,
        require_free_attacks,
        stored_card,
        submission_eps,
    )
    from lip_plugin.types import parse_eps_grid

    require_free_attacks(board, attack_settings(options)["attacks"])
    chosen = None if options["eps"] is None else parse_eps_grid(options["eps"].split(","))
    task = select_task(options, ranks, lambda card: submission_eps(board, card, chosen))
    task = dataclasses.replace(task, card=stored_card(task.card, task.model))
    require_accepted_before(board, task.card, task.model, task.images)
    return task


def _show(report: Any, task: Task, options: dict[str, Any], ranks: Ranks) -> None:
    from lip_plugin.cli.task import described_report
    from lip_plugin.report import print_report

    ranks.together(lambda: print_report(described_report(report, task, options)) if ranks.leads else None)


def _submit(board: Board, report: Report, task: Task, options: dict[str, Any], output: Output) -> None:
    from lip_plugin.cli.task import described_report
    from lip_plugin.report import print_report
    from lip_plugin.submission.evaluation import make_submission, require_accepted_after
    from lip_plugin.submission.write import fill_bundle

    described = described_report(report, task, options)
    submission, perturbations = make_submission(board, task.card, task.model, task.images, described)
    try:
        require_accepted_after(board, submission)
        with output.filled() as folder:
            pictures: bool = options["include_images"]
            written = fill_bundle(submission, perturbations, task.images, folder, include_images=pictures)
    finally:  # it says why a board refuses; a pipe that nobody reads must not cost the bundle
        print_report(described)
    _say(submission, written, options)


def _say(submission: Submission, written: Manifest, options: dict[str, Any]) -> None:
    from lip_plugin.submission.boards.registry import BOARDS

    files = written.files
    size = sum(record.bytes for record in files.values()) / 2**20
    click.echo(f"Bundle of {len(files) + 1} files, {size:.1f} MiB, written to {options['out']}")
    for board in BOARDS:
        why = "; ".join(map(str, board.refusals_after(submission)))
        click.echo(f"{board.title} {f'would refuse it: {why}' if why else 'would take it'}")
    words = [options["out"]]
    if not options["include_images"]:
        words += ["--data-dir", options["data_dir"]] if options["data_dir"] is not None else []
        words += ["--data", options["data_file"]] if options["data_file"] is not None else []
    click.echo(f"Check it: {shlex.join(['lip', 'verify', *map(str, words)])}")
