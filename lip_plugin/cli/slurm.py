"""``--slurm N``: the parts of an evaluation as an array of SLURM jobs, and their merge as one that waits for them."""

from __future__ import annotations

import io
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import redirect_stderr
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from lip_plugin.cli.options import Asked
from lip_plugin.errors import ConfigError, close_matches
from lip_plugin.extras import extra
from lip_plugin.files import REPORT_FILES, check_output_directory

_MINUTES = 720
_OF_MERGE = ("overwrite", "quiet", "gallery", "workers")
_OF_PARTS = ("slurm", "slurm_options", "out", "resume", "overwrite", "gallery")
"""What the parts are not told, or are told otherwise."""
_NOT_TYPED = frozenset(
    {"dependency", "additional_parameters", "setup", "teardown", "srun_args", "use_srun", "job_name", "num_gpus"}
    | {"nodes", "ntasks_per_node"}  # a part is one process
)
"""Parameters of submitit that no KEY=VALUE can give, or that are not the user's to give."""


@dataclass(frozen=True)
class Job:
    """What a job runs, as submitit wants it: called on the node; `checkpoint` when its time is over."""

    words: tuple[str, ...]

    def __call__(self) -> None:
        sys.exit(subprocess.call([sys.executable, "-m", "lip_plugin", *self.words]))

    def checkpoint(self) -> Any:
        """The same again: all words say --resume."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


def slurm_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """``--slurm`` and ``--slurm-options`` of a command that takes ``asked``: with them it is submitted and not run."""

    @wraps(command)
    def submitted_or_run(*, slurm: int | None, slurm_options: str | None, **options: Any) -> Any:
        if slurm is None and slurm_options is None:
            return command(**options)
        if slurm is None:
            raise ConfigError("--slurm-options are those of jobs; give --slurm N too")
        return _submit(slurm, slurm_options or "", options)

    told = (
        f"KEY=VALUE,... of submitit: partition, time in minutes (default {_MINUTES}), gpus_per_node, mem, account, ..."
    )
    wrapped = click.option("--slurm-options", help=told)(submitted_or_run)
    told = "Submit N parts as an array of SLURM jobs, and their lip merge, instead of running here."
    return click.option("--slurm", type=click.IntRange(2), metavar="N", help=told)(wrapped)


def _submit(count: int, text: str, options: dict[str, Any]) -> None:
    """Everything that can be wrong is found before a job waits in a queue."""
    asked: Asked = options["asked"]
    out: Path | None = options["out"]
    if out is None or options["as_json"] or options["part"] is not None:
        raise ConfigError(
            "--slurm makes parts of its own and leaves the report in a folder; give --out, no --part, no --json"
        )
    check_output_directory(out, replaceable=REPORT_FILES if asked.overwrite else frozenset())
    folder = out.with_name(f"{out.name}.slurm")
    parts = [folder / f"part{number}" for number in range(1, count + 1)]
    executor = _executor(folder / "logs", _parameters(text))
    if folder.exists() and not options["resume"]:
        raise ConfigError(f"{folder} holds parts of an earlier run; go on with --resume, or remove it to start over")
    _require_work(asked, count)
    typed = click.get_current_context()
    jobs = [
        Job(
            (
                *_words(typed, lambda name: name not in _OF_PARTS),
                "--part",
                f"{n}/{count}",
                "--out",
                str(part),
                "--resume",
            )
        )
        for n, part in enumerate(parts, 1)
    ]
    shared = tuple(_words(typed, lambda name: name in _OF_MERGE))[1:]
    merge = Job(("merge", str(out), *map(str, parts), *shared, "--resume"))
    array = _submitted(executor, jobs, folder)
    click.echo(f"{count} parts are job array {array}; they and what they say are in {folder}")
    click.echo(f"The merge by hand: {shlex.join(['lip', *merge.words])}")
    waits = {"dependency": f"afterok:{array}", "additional_parameters": {"kill-on-invalid-dep": "yes"}}
    executor.update_parameters(**waits)
    last = _submitted(executor, [merge], folder)
    click.echo(
        f"Job {last} does it when all parts have ended well, into {out}. How far they are: squeue -j {array},{last}"
    )
    click.echo("Where a part fails, the same command with --resume submits what is left.")


def _require_work(asked: Asked, count: int) -> None:
    """Model, images, radii and attacks as the jobs will take them. Raises as they would."""
    from lip_plugin.cli.selection import DEMO_MODEL, select_eps, select_images
    from lip_plugin.zoo import model_card

    card = model_card(asked.name or DEMO_MODEL, dataset=asked.dataset)
    request = asked.request(select_eps(card, asked.eps))
    blocks = -(-len(select_images(card, asked)) // request.batch_size)
    if blocks < count:
        raise ConfigError(
            f"--slurm {count}: there are {blocks} blocks of {request.batch_size} images; give {blocks} at most"
        )


def _words(typed: click.Context, wanted: Callable[[str], bool]) -> Iterator[str]:
    """The command's name, then what was typed of what is ``wanted``."""
    yield str(typed.info_name)
    for parameter in typed.command.params:
        name = str(parameter.name)
        if typed.get_parameter_source(name) is not ParameterSource.COMMANDLINE or not wanted(name):
            continue
        value = typed.params[name]
        if isinstance(parameter, click.Argument):
            yield str(value)
        elif isinstance(value, bool):
            yield (parameter.opts if value else parameter.secondary_opts)[0]
        else:
            yield from (parameter.opts[0], str(value))


def _parameters(text: str) -> dict[str, int | str]:
    """Raises ConfigError."""
    found: dict[str, int | str] = {"time": _MINUTES}
    for part in filter(None, text.split(",")):
        key, sign, value = part.strip().partition("=")
        if not (key and sign and value) or (key == "time" and not value.isdecimal()):
            raise ConfigError(
                f"--slurm-options {part.strip()!r} is not KEY=VALUE, or not a time in minutes; give time=60"
            )
        found[key] = int(value) if value.isdecimal() else value
    return found


def _executor(logs: Path, parameters: dict[str, int | str]) -> Any:
    """Of submitit. Raises ConfigError, MissingDependencyError."""
    with extra("slurm", ("submitit",)):
        from submitit.slurm.slurm import SlurmExecutor
    missing = [program for program in ("sbatch", "srun") if shutil.which(program) is None]
    if missing:
        raise ConfigError(f"{missing[0]} is not on PATH; submit from a machine of a SLURM cluster, or use --part I/N")
    known = SlurmExecutor._valid_parameters() - _NOT_TYPED  # pyright: ignore[reportPrivateUsage]
    _require_known(parameters, known)
    executor = SlurmExecutor(logs.absolute(), max_num_timeout=1000)
    executor.update_parameters(job_name="lip", **parameters)
    return executor


def _require_known(given: Collection[str], known: Collection[str]) -> None:
    unknown = [key for key in given if key not in known]
    if unknown:
        raise ConfigError(
            f"--slurm-options {unknown[0]}: no option of submitit;{close_matches(unknown[0], known)} known: "
            f"{', '.join(sorted(known))}"
        )


def _submitted(executor: Any, jobs: Sequence[Job], folder: Path) -> str:
    """The id of a job or array. Raises ConfigError where sbatch refuses; what was made for it alone is removed."""
    from submitit.core.utils import FailedJobError, FailedSubmissionError

    is_new = not folder.exists()
    try:
        with redirect_stderr(io.StringIO()), executor.batch():  # the error says it too
            first, *_ = [executor.submit(job) for job in jobs]
    except (FailedJobError, FailedSubmissionError) as error:
        if is_new:
            shutil.rmtree(folder, ignore_errors=True)
        said = str(error).strip().splitlines()
        raise ConfigError(f"sbatch takes no job: {said[-1].strip() if said else 'it does not say why'}") from error
    return str(first.job_id).partition("_")[0]
