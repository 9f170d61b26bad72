"""Options that several evaluating commands have in common, and the values that they travel in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from lip_plugin.errors import ConfigError

if TYPE_CHECKING:
    from lip_plugin.data.chosen import Selection
    from lip_plugin.evaluate import Request
    from lip_plugin.schema.report import Options
    from lip_plugin.types import Effort

F_ = TypeVar("F_", bound=Callable[..., Any])


@dataclass(frozen=True, kw_only=True)
class ImageOptions:
    """What somebody typed to say where images are, and which of them are meant."""

    data_dir: str | None = None
    data: str | None = None
    count: int | None = None
    every: int | None = None
    sample: int | None = None
    seed: int = 0
    workers: int = 0

    @property
    def are_given(self) -> bool:
        """Whether anything but their number was said."""
        return any(value is not None for value in (self.data_dir, self.data, self.every, self.sample))

    @property
    def selection(self) -> Selection:
        """Raises ConfigError."""
        from lip_plugin.data.chosen import Selection

        return Selection(count=self.count, every=self.every, sample=self.sample, seed=self.seed)

    def again(self) -> Iterator[str]:
        """The words that give the same images, but for their number."""
        sample_seed = None if self.sample is None else self.seed
        named = {"data-dir": self.data_dir, "data": self.data, "every": self.every, "sample": self.sample}
        for option, value in {**named, "seed": sample_seed}.items():
            yield from () if value is None else (f"--{option}", str(value))


@dataclass(frozen=True, kw_only=True)
class Asked(ImageOptions):
    """What somebody typed after an evaluating command: where model and images are, and what to do with them."""

    name: str | None
    dataset: str | None
    eps: str | None
    arithmetic: str
    batch_size: int | None
    bound: Effort
    device: str | None
    overwrite: bool
    quiet: bool
    verbose: bool = False
    jobs: int | None = None
    attacks: str | None = None
    audit: str = "0"
    no_skip_certified: bool = False

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
            bound=self.bound,
            **others,
        )

    def on_report(self) -> Options:
        """What the report's command follows from."""
        from lip_plugin.data.own import parse_images
        from lip_plugin.schema.report import Options
        from lip_plugin.zoo.stores.store import shown_reference

        own = None if self.data is None else parse_images(self.data)
        return Options(
            model_dir=self.name is not None and Path(self.name).is_dir(),
            reference=None if self.name is None else shown_reference(self.name),
            dataset=self.dataset,
            data=self.data if own is None else own.shown,
            data_dir=self.data_dir is not None,
            device=self.device or None,
            every=self.every,
            sample_seed=None if self.sample is None else self.seed,
        )


def evaluation_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Which images, which radii, how they are worked on; the command gets them, and its attacks, as `Asked`."""
    return _with(
        _images_where(_together(command, "asked", Asked)),
        click.option("--dataset", help="Which one, where the name exists for several data sets, or the card has none."),
        click.option("--n", "count", type=int, help="The first N images in file order (default: all)."),
        click.option("--eps", help="L2 radii such as 36/255,72/255 (default: the card's)."),
        click.option(
            "--arithmetic",
            default="real",
            help="What radii speak of: real (default), float64, float32 or forward, which is model(x) itself.",
        ),
        click.option(
            "--bound",
            type=click.Choice(["quick", "tight"]),
            default="quick",
            show_default=True,
            help="How the Lipschitz bound is proved: tight is some tenths of a per cent smaller, and slow.",
        ),
        click.option("--batch-size", type=int, help="Images per work unit (default 256)."),
        click.option("--device", help="Device of the forwards (default cpu)."),
        click.option(
            "--jobs", type=click.IntRange(1), help="Processes that share the work (default: one per core, if worth it)."
        ),
        click.option("--overwrite", is_flag=True, help="Replace an existing --out."),
        click.option("--quiet", is_flag=True, help="No progress bar, and no line a minute where there is no terminal."),
        click.option("-v", "--verbose", is_flag=True, help="A line on stderr for every unit and stage that is done."),
    )


def resume_option(command: F_) -> F_:
    """Of the commands whose ``--out`` takes long."""
    told = "Go on with what a stopped run has kept in OUT.partial, if anything."
    return _with(command, click.option("--resume", is_flag=True, help=told))


def image_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Which images; the command gets them as its ``images``, an `ImageOptions`."""
    return _images_where(_together(command, "images", ImageOptions))


def _together(command: Callable[..., Any], name: str, kind: type[ImageOptions]) -> Callable[..., Any]:
    """The options that ``kind`` has, as one argument."""

    @wraps(command)
    def with_value(**options: Any) -> Any:
        typed = {field.name: options.pop(field.name) for field in fields(kind) if field.name in options}
        return command(**{name: kind(**typed)}, **options)

    return with_value


def _images_where(command: F_) -> F_:
    return _with(
        command,
        click.option("--data-dir", help="Folder with the data set's own files."),
        click.option(
            "--data",
            help="Your own images: npz:FILE with x (uint8 or float in [0,1]) and y, folder:DIR with a folder of "
            "pictures for each class, shards:DIR; or the name of a data set.",
        ),
        click.option("--every", type=click.IntRange(1), help="Every K-th image in file order; --n counts these."),
        click.option("--sample", type=click.IntRange(1), help="N images drawn with --seed, in file order."),
        click.option("--seed", type=int, default=0, show_default=True, help="Seed of every random draw."),
        click.option("--workers", type=click.IntRange(0), default=0, help="Processes that decode pictures."),
    )


def attack_options(default: str) -> Callable[[F_], F_]:
    """What is attacked how; by default with these attacks."""
    return lambda command: _with(
        command,
        click.option("--attacks", default=default, show_default=True, help="Comma-separated attack specifications."),
        click.option("--audit", default="8", show_default=True, help="Certified images to attack per eps, or all."),
        click.option("--no-skip-certified", is_flag=True, help="Attack certified images too (the full protocol)."),
    )


def _with(command: F_, *options: Callable[[F_], F_]) -> F_:
    for option in reversed(options):
        command = option(command)
    return command
