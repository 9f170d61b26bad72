"""Options that several evaluating commands have in common, and the one value that they travel in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from lip_plugin.errors import ConfigError

if TYPE_CHECKING:
    from lip_plugin.evaluate import Request
    from lip_plugin.schema.report import Options

F_ = TypeVar("F_", bound=Callable[..., Any])


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What somebody typed after an evaluating command: where model and images are, and what to do with them."""

    name: str | None
    dataset: str | None
    data_dir: str | None
    data_file: str | None
    count: int | None
    eps: str | None
    arithmetic: str
    batch_size: int | None
    workers: int
    device: str | None
    overwrite: bool
    quiet: bool
    attacks: str | None = None
    audit: str = "0"
    no_skip_certified: bool = False
    seed: int = 0

    @property
    def attack_names(self) -> tuple[str, ...]:
        """Empty for a command without attacks. Raises ConfigError where one that has them is given none."""
        if self.attacks is None:
            return ()
        names = tuple(name.strip() for name in self.attacks.split(",") if name.strip())
        if not names:
            raise ConfigError(f"--attacks {self.attacks!r} names no attack; give one, or prove alone with lip certify")
        return names

    def request(self, eps: tuple[float, ...], *, skip_certified: bool = True, **others: Any) -> Request:
        """For these radii; ``others`` are what no option of these says. Raises as `Request.of`."""
        from lip_plugin.evaluate import Request

        return Request.of(
            eps,
            self.attack_names,
            audit=self.audit,
            skip_certified=skip_certified and not self.no_skip_certified,
            seed=self.seed,
            batch_size=self.batch_size,
            arithmetic=self.arithmetic,
            **others,
        )

    def on_report(self) -> Options:
        """What the report's command follows from."""
        from lip_plugin.schema.report import Options

        return Options(
            model_dir=self.name is not None and Path(self.name).is_dir(),
            dataset=self.dataset,
            data=None if self.data_file is None else Path(self.data_file).name,
            data_dir=self.data_dir is not None,
            device=self.device or None,
        )


def evaluation_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Which images, which radii, how they are worked on; the command gets them, and its attacks, as `Asked`."""

    @wraps(command)
    def with_value(**options: Any) -> Any:
        typed = {field.name: options.pop(field.name) for field in fields(Asked) if field.name in options}
        return command(Asked(**typed), **options)

    return _with(
        with_value,
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
    """What is attacked how."""
    return _with(
        command,
        click.option(
            "--attacks", default="autoattack", show_default=True, help="Comma-separated attack specifications."
        ),
        click.option("--audit", default="8", show_default=True, help="Certified images to attack per eps, or all."),
        click.option("--no-skip-certified", is_flag=True, help="Attack certified images too (the full protocol)."),
        click.option("--seed", type=int, default=0, show_default=True, help="Seed of every random draw."),
    )


def _with(command: F_, *options: Callable[[F_], F_]) -> F_:
    for option in reversed(options):
        command = option(command)
    return command
