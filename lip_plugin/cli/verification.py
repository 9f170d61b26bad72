"""``lip verify``: a bundle's claims against what its weights, images and adversarial points give."""

from __future__ import annotations

import dataclasses
import json
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lip_plugin.cli.ending import EXIT_BAD_INPUT, EXIT_FAILED_CHECK, fail
from lip_plugin.cli.limits import MOST_GIGABYTES, MOST_SECONDS
from lip_plugin.cli.options import ImageOptions, image_options
from lip_plugin.files import REPORT_FILES

if TYPE_CHECKING:
    from lip_plugin.data import LabelledImages
    from lip_plugin.verification import Check, Verification
    from lip_plugin.zoo import ModelCard

CERTIFICATE = "CERTIFICATE.md"
PAGE_FILES = REPORT_FILES | {CERTIFICATE}


@click.command("verify")
@click.argument("directory", type=Path)
@image_options
@click.option("--device", help="Device of the forwards (default cpu).")
@click.option("--out", type=Path, help="Where everything agrees, write the measured report and its page here.")
@click.option("--overwrite", is_flag=True, help="Replace an existing --out.")
@click.option(
    "--time-limit",
    type=click.IntRange(1),
    default=MOST_SECONDS,
    show_default=True,
    help="Seconds after which it ends, whatever the bundle asks for.",
)
@click.option(
    "--memory-limit",
    type=click.IntRange(1),
    default=MOST_GIGABYTES,
    show_default=True,
    help="GiB of memory beyond which it ends, whatever the bundle asks for.",
)
@click.option("--json", "as_json", is_flag=True, help="Print every check as JSON.")
@click.option("--quiet", is_flag=True, help="No progress bar.")
def verify_command(
    directory: Path,
    images: ImageOptions,
    device: str | None,
    out: Path | None,
    overwrite: bool,
    time_limit: int,
    memory_limit: int,
    as_json: bool,
    quiet: bool,
) -> int:
    """Re-create what a submission bundle claims, and hold the two against each other.

    Hashes, Lipschitz bound, certificates, accuracies and stored adversarial points are measured again, from the weights
    and the images: those of the bundle, those shipped with lip-plugin, or yours. Exits with 1 where a claim does not
    hold, and with 2 where the images that are needed are not there, or it takes too much
    time or memory.
    """
    from lip_plugin.cli.limits import limited
    from lip_plugin.files import output_directory
    from lip_plugin.verification import verify_bundle

    given = partial(selected_images, images) if images.are_given else None
    with ExitStack() as held:

        def over(what: str) -> str:
            return f"{directory} is not verified: {what}; --time-limit and --memory-limit allow more"

        held.enter_context(limited(time_limit, memory_limit, over))
        room = None
        if out is not None:
            replaceable = PAGE_FILES if overwrite else frozenset[str]()
            room = held.enter_context(output_directory(out, replaceable=replaceable))
        found = verify_bundle(directory, images=given, device=device, time_limit=time_limit, progress=not quiet)
        if room is not None and not found.failures and not found.gaps:
            with room.filled() as folder:
                _write(found, folder)
    if as_json:
        click.echo(json.dumps(_document(found), indent=1, ensure_ascii=False))
    else:
        _print(found)
    if found.failures:
        for one in found.failures:
            fail(one.line(), EXIT_FAILED_CHECK)
        return fail(f"{directory} does not verify: {_count(found.failures, 'claim')} differ", EXIT_FAILED_CHECK)
    if found.gaps:
        listed = "; ".join(one.line() for one in found.gaps)
        return fail(f"{directory} is verified in part only: {listed}", EXIT_BAD_INPUT)
    if not as_json:
        click.echo(f"VERIFIED: {_count(found.checks, 'check')}, nothing differs")
    return 0


def _write(found: Verification, folder: Path) -> None:
    """The report as it was measured, and what it proves in words."""
    from lip_plugin.report import fill_report

    if found.report is not None:
        fill_report(found.report, folder)
        (folder / CERTIFICATE).write_text(found.statement, encoding="utf-8")


def selected_images(images: ImageOptions, card: ModelCard, count: int) -> LabelledImages:
    """As `verify_bundle` asks for them."""
    from lip_plugin.cli.selection import select_images

    return select_images(card, images if images.sample is not None else dataclasses.replace(images, count=count))


def _count(things: list[Check], noun: str) -> str:
    return f"{len(things)} {noun}{'' if len(things) == 1 else 's'}"


def _short(text: str) -> str:
    """Hashes by their beginning; `--json` and the lines of failures have all of them."""
    return f"{text[:12]}..." if len(text) == 64 and " " not in text else text


def _document(found: Verification) -> dict[str, object]:
    verdict = "differs" if found.failures else "incomplete" if found.gaps else "verified"
    checks = [one.words() for one in found.checks]
    return {"name": found.name, "board": found.board, "verdict": verdict, "checks": checks, "trusted": found.trusted}


def _print(found: Verification) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        console = Console(highlight=False, markup=False, emoji=False, width=160)
    console.print(f"{found.name}: a bundle for the board {found.board!r}", style="bold")
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for name in ("file", "what", "claimed", "measured", ""):
        table.add_column(name, overflow="fold")
    for one in found.checks:
        style = {"DIFFERS": "bold red", "not checked": "yellow"}.get(one.verdict)
        table.add_row(*map(_short, one.words().values()), style=style)
    console.print(table)
    if found.trusted:
        console.print("Taken from the claim, since only attacking again could tell: " + "; ".join(found.trusted) + ".")
