"""``lip cost``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from lip_plugin.errors import ConfigError, MissingDependencyError

if TYPE_CHECKING:
    from lip_plugin.cost.flops import Flops, Speed
    from lip_plugin.cost.subject import Subject

_DTYPES = ("bfloat16", "float32", "float64")
_ATTACKS = ("autoattack", "nearest-first", "adaptive")


@click.command("cost")
@click.argument("name")
@click.argument("overrides", nargs=-1)
@click.option("--processes", type=click.IntRange(1), default=1, show_default=True, help="GPUs that share the work.")
@click.option("--speed", help="Operations a second of one process: DTYPE=N,...; with it, time is estimated.")
@click.option("--images", type=click.IntRange(1), default=10_000, show_default=True, help="Evaluated, for --speed.")
@click.option("--train-images", type=click.IntRange(1), help="In an epoch, for --speed.")
def cost_command(
    name: str, overrides: tuple[str, ...], processes: int, speed: str | None, images: int, train_images: int | None
) -> None:
    """Say what a network costs to train, prove and attack, without a machine that could.

    NAME is a recipe or YAML file with settings KEY=VALUE as for lip train, a zoo name or a model directory. Operations
    and bytes are counted from shapes. Time rests on the speed that you state, and on nothing but these operations.
    """
    from lip_plugin.cost.flops import parse_speed
    from lip_plugin.cost.subject import subject_of

    stated = None if speed is None else parse_speed(speed)
    subject = subject_of(name, overrides, processes=processes)
    if train_images is not None and (stated is None or subject.step is None):
        raise ConfigError(
            "--train-images is for the time of a recipe's training; give a recipe and --speed DTYPE=N,..."
        )
    lines = [*_operations(subject), "", *_memory(subject), *_attacks()]
    if stated is not None:
        lines += ["", *_times(subject, stated, images, train_images)]
    for line in lines:
        click.echo(line)


def _operations(subject: Subject) -> Iterator[str]:
    sides = " x ".join(map(str, subject.input_shape))
    yield f"{subject.description}; images of {sides}"
    yield f"{'GFLOP':42}" + "".join(f"{dtype:>12}" for dtype in _DTYPES)
    network, step = subject.network, subject.step
    yield _row("forward of an image", network.forward)
    yield _row("certificate of an image, at least", network.certificate)
    yield _row("proof of the quick bound, once", network.proof)
    if step is not None:
        yield _row("training step, for each image", step.per_image)
        yield _row("training step, whatever the batch", step.per_step)


def _row(what: str, flops: Flops) -> str:
    from lip_plugin.cost.flops import dtype_name

    named = {dtype_name(dtype): f"{count / 1e9:,.4g}" for dtype, count in flops.items()}
    return f"{what:42}" + "".join(f"{named.get(dtype, '-'):>12}" for dtype in _DTYPES)


def _memory(subject: Subject) -> Iterator[str]:
    network, step = subject.network, subject.step
    yield f"Weights {_size(network.weights)}; a forward holds {_size(network.held)} for each image."
    if step is not None:
        yield (
            f"A training step of {step.batch:,} images in a process holds {_size(step.peak)} at most, of which "
            f"{_size(step.lasting)} between steps ({step.parameters:,} parameters)."
        )


def _size(count: float) -> str:
    return f"{count / 1e9:.3g} GB" if count >= 1e8 else f"{count / 1e6:.3g} MB"


def _attacks() -> Iterator[str]:
    from lip_plugin.cost.attacks import attack_cost

    yield "Forwards of an attack on an image that nothing breaks, at one eps:"
    for name in _ATTACKS:
        try:
            cost = attack_cost(name)
        except MissingDependencyError as error:
            yield f"  {name:14} not known: {error}"
            continue
        near = f", and {cost.near:,.0f} more where a point was seen just beyond eps" if cost.near else ""
        yield f"  {name:14} {cost.always:,.0f}{near}"


def _times(subject: Subject, speed: Speed, images: int, train_images: int | None) -> Iterator[str]:
    from lip_plugin.cost.flops import dtype_name, seconds_estimate

    network, processes = subject.network, subject.processes
    rates = ", ".join(f"{dtype_name(dtype)} {rate / 1e12:g}" for dtype, rate in speed.items())
    yield f"Estimated for TFLOP/s of {rates} in each of {processes}, from below: nothing but operations is counted."
    proof, each = seconds_estimate(network.proof, speed), seconds_estimate(network.certificate, speed)
    yield f"  proof, by one alone: {_time(proof)}"
    yield f"  {images:,} certificates: {_time(images * each / processes)}"
    passes = images * seconds_estimate(network.forward, speed) / processes
    yield f"  {images:,} images, 1,000 forwards of each: {_time(1000 * passes)}"
    if train_images is not None and subject.config is not None:
        seconds = subject.training_seconds_estimate(train_images, speed)
        yield f"  training, {subject.config.epochs} epochs of {train_images:,} images: {_time(seconds)}"


def _time(seconds: float) -> str:
    return f"{seconds:.3g} s" if seconds < 600 else f"{seconds / 3600:.3g} hours"
