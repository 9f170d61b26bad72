"""Options that several evaluating commands have in common."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

F_ = TypeVar("F_", bound=Callable[..., Any])


def evaluation_options(command: F_) -> F_:
    """Which images, which radii, how they are worked on."""
    return _with(
        command,
        click.option("--dataset", help="Which one, where the name exists for several data sets."),
        click.option("--data-dir", help="Folder with the data set's own files."),
        click.option("--data", "data_file", help="Your own images: .npz with x (uint8 or float in [0,1]) and y."),
        click.option("--n", "count", type=int, help="The first N images in file order (default: all)."),
        click.option("--eps", help="L2 radii such as 36/255,72/255 (default: the card's)."),
        click.option(
            "--arithmetic",
            default="real",
            help="What radii speak of: real (default), float64, float32 or forward, which is model(x) itself.",
        ),
        click.option("--batch-size", type=int, help="Images per work unit (default 256)."),
        click.option("--workers", type=click.IntRange(0), default=0, help="Processes that decode pictures."),
        click.option("--device", help="Device of the forwards (default cpu)."),
        click.option("--overwrite", is_flag=True, help="Replace an existing --out."),
        click.option("--quiet", is_flag=True, help="No progress bar."),
    )


def attack_options(command: F_) -> F_:
    """What is attacked how; `attack_settings` reads them."""
    return _with(
        command,
        click.option(
            "--attacks", default="autoattack", show_default=True, help="Comma-separated attack specifications."
        ),
        click.option("--audit", default="8", show_default=True, help="Certified images to attack per eps, or all."),
        click.option("--no-skip-certified", is_flag=True, help="Attack certified images too (the full protocol)."),
        click.option("--seed", type=int, default=0, show_default=True, help="Seed of every random draw."),
    )


def attack_settings(options: dict[str, Any]) -> dict[str, Any]:
    """The arguments of `compare_images` that `attack_options` stand for."""
    chosen = [spec.strip() for spec in options["attacks"].split(",") if spec.strip()]
    skip = not options["no_skip_certified"]
    return {"attacks": chosen, "audit": options["audit"], "skip_certified": skip, "seed": options["seed"]}


def _with(command: F_, *options: Callable[[F_], F_]) -> F_:
    for option in reversed(options):
        command = option(command)
    return command
