"""``lip leaderboard``: reads reports and cards; no torch, unless bundles are to be verified."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lip_plugin.errors import ConfigError, RefusedError, close_matches
from lip_plugin.files import output_directory

if TYPE_CHECKING:
    from lip_plugin.leaderboard.collect import Verified
    from lip_plugin.leaderboard.tables import Table


@click.command("leaderboard")
@click.argument("directories", nargs=-1, type=Path, metavar="[DIR]...")
@click.option("--out", type=Path, required=True, help="Write index.html, leaderboard.md and leaderboard.csv here.")
@click.option("--dataset", help="Only models for this data set.")
@click.option("--verify", is_flag=True, help="Make the figures of submissions again, as lip verify does.")
@click.option("--data-dir", help="For --verify: folder with the data set's own files.")
@click.option("--overwrite", is_flag=True, help="Replace an earlier leaderboard in --out.")
@click.option("--quiet", is_flag=True, help="Say nothing when done.")
def leaderboard_command(
    directories: tuple[Path, ...],
    out: Path,
    dataset: str | None,
    verify: bool,
    data_dir: str | None,
    overwrite: bool,
    quiet: bool,
) -> None:
    """Evaluated models beside published figures, one table per data set.

    DIR is what `lip compare --out` or `lip certify --out` wrote, a submission, or a folder of these; published
    figures are added for the data sets that these are about. Without any DIR: the models of the zoo, as their cards
    say, and all published figures. What is not verified by this very call is called claimed. With --verify exits with 1
    where a submission does not hold.
    """
    from lip_plugin.leaderboard import LEADERBOARD_FILES, fill_leaderboard

    with output_directory(out, replaceable=LEADERBOARD_FILES if overwrite else frozenset()) as output:
        tables = _tables(directories, dataset, partial(_verified, data_dir) if verify else None)
        with output.filled() as folder:
            no_page = fill_leaderboard(tables, folder)
    if no_page is not None or not quiet:
        rows = sum(len(table.entries) for table in tables)
        without = f", without a page: {no_page}" if no_page else ""
        click.echo(f"Leaderboard of {rows} model{'' if rows == 1 else 's'} written to {out}{without}")


def _verified(data_dir: str | None, directory: Path) -> bool:
    """False where something could not be checked. Raises RefusedError, with what differs first.

    Ends the process where the bundle takes more than `lip verify` allows one that nothing is said of.
    """
    from lip_plugin.cli.limits import MOST_GIGABYTES, MOST_SECONDS, limited
    from lip_plugin.cli.options import ImageOptions
    from lip_plugin.cli.verification import selected_images
    from lip_plugin.verification import verify_bundle

    images = ImageOptions(data_dir=data_dir)
    given = partial(selected_images, images) if images.are_given else None

    def over(what: str) -> str:
        return f"{directory} is not verified: {what}; leave it out, or see what lip verify says of it"

    with limited(MOST_SECONDS, MOST_GIGABYTES, over):
        found = verify_bundle(directory, images=given, time_limit=MOST_SECONDS)
    if found.failures:
        raise RefusedError(f"{directory} does not verify: {found.failures[0].line()}")
    return not found.gaps


def _tables(directories: tuple[Path, ...], dataset: str | None, verified: Verified | None) -> Sequence[Table]:
    from lip_plugin.leaderboard import entries_of_reports, entries_of_zoo, make_tables

    entries = entries_of_reports(directories, verified) if directories else entries_of_zoo()
    known = {entry.dataset for entry in entries}
    if dataset is not None and dataset not in known:
        names = ", ".join(sorted(known))
        raise ConfigError(f"no model for data set {dataset!r}.{close_matches(dataset, known)} Known: {names}")
    return make_tables(entry for entry in entries if dataset in (None, entry.dataset))
