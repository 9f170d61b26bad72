"""``lip train``."""

from __future__ import annotations

import os
from pathlib import Path

import click


@click.command("train")
@click.argument("recipe")
@click.argument("overrides", nargs=-1)
@click.option("--out", type=Path, help="Model directory to write (default: runs/RECIPE).")
@click.option("--resume", is_flag=True, help="Go on from the checkpoint in --out.")
@click.option("--overwrite", is_flag=True, help="Replace an existing --out.")
@click.option("--quiet", is_flag=True, help="No progress bar and no line per epoch.")
def train_command(
    recipe: str, overrides: tuple[str, ...], out: Path | None, resume: bool, overwrite: bool, quiet: bool
) -> None:
    """Train with EMMA, certify the test split with the sound bound, and write a model directory.

    RECIPE is a shipped recipe or a YAML file; settings are overridden by KEY=VALUE, for example
    `lip train fashion_mnist data_dir=DIR epochs=1 model.width=16`.
    """
    from lip_plugin.cli.log import log_to_stderr
    from lip_plugin.report import print_report
    from lip_plugin.train.config import load_config
    from lip_plugin.train.run import run_training

    if not quiet:
        log_to_stderr()
    directory = out if out is not None else Path("runs") / Path(recipe).stem
    config = load_config(recipe, overrides, resumed=directory if resume else None)
    shown = [Path(recipe).name, *map(_shown, overrides)]
    command = " ".join(["lip train", *shown])
    report = run_training(config, directory, command=command, resume=resume, overwrite=overwrite, progress=not quiet)
    if report is not None:  # the other processes of a distributed run are silent
        print_report(report)
        click.echo(f"Model directory written to {directory}")


def _shown(word: str) -> str:
    """On a card: without the folders of whoever trained it."""
    from lip_plugin.data.own import parse_images

    key, _, value = word.partition("=")
    if key == "data_dir":
        return "data_dir=DIR"
    if key == "start" and os.path.isdir(value):
        return f"start={Path(value).resolve().name}"
    own = parse_images(value) if key == "dataset" else None
    return word if own is None else f"dataset={own.shown}"
