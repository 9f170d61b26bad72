"""``lip merge``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from lip_plugin.cli.ending import EXIT_BAD_INPUT, fail
from lip_plugin.cli.evaluation import Delivery, evaluate
from lip_plugin.cli.options import resume_option
from lip_plugin.cli.parts import asked_again
from lip_plugin.errors import ConfigError


@click.command("merge")
@click.argument("out", type=Path)
@click.argument("parts", type=Path, nargs=-1, required=True, metavar="PART_DIR...")
@click.option("--data-dir", help="Folder with the data set's own files, where it is another one here.")
@click.option("--data", help="Your own images, where they lie elsewhere here.")
@click.option("--device", help="Device of the forwards (default: as for the parts).")
@click.option("--workers", type=click.IntRange(0), default=0, help="Processes that decode pictures.")
@resume_option
@click.option("--overwrite", is_flag=True, help="Replace an existing OUT.")
@click.option("--quiet", is_flag=True, help="No progress bar, and no line a minute where there is no terminal.")
@click.option("--gallery/--no-gallery", default=None, help="Images in report.html (default: if their terms allow).")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def merge_command(
    out: Path,
    parts: tuple[Path, ...],
    data_dir: str | None,
    data: str | None,
    device: str | None,
    workers: int,
    resume: bool,
    overwrite: bool,
    quiet: bool,
    gallery: bool | None,
    as_json: bool,
) -> None:
    """Make one report of all parts that lip certify or compare --part have written.

    The report is that of one run, which the parts do not know they are: the audit is done here. Model and images are
    needed again, as the parts had them. Parts that are missing, given twice, damaged or of something else are named.
    """
    from lip_plugin.evaluate.parts import together

    found, flaws = together(parts)
    for line in flaws[:-1]:
        fail(line, EXIT_BAD_INPUT)
    if flaws:
        raise ConfigError(flaws[-1])
    given = {"data_dir": data_dir, "data": data, "device": device}
    now: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    now |= {"workers": workers, "overwrite": overwrite, "quiet": quiet, "jobs": 1}  # little is left to do
    asked, settings = asked_again(found[0].asked, **now)
    folders = tuple(part.folder for part in found)
    evaluate(asked, Delivery(out, as_json, resume, gallery, parts=folders), **settings)
