"""``--part I/N``: a share of an evaluation as a folder of finished units."""

from __future__ import annotations

import dataclasses
import re
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_type_hints

import click

from lip_plugin.cli.options import Asked
from lip_plugin.cli.partial import discard, partial_folder
from lip_plugin.errors import ConfigError

if TYPE_CHECKING:
    from lip_plugin.cli.task import Task
    from lip_plugin.evaluate.blocks import Part
    from lip_plugin.files import Output
    from lip_plugin.ranks import Ranks

_MOST = 10_000


def parse_part(text: str | None) -> Part | None:
    """``2/3`` is the second of three. Raises ConfigError."""
    if text is None:
        return None
    from lip_plugin.evaluate.blocks import Part

    match = re.fullmatch(r"([1-9][0-9]{0,5})/([1-9][0-9]{0,5})", text)
    if match is None or not int(match[1]) <= int(match[2]) <= _MOST:
        raise ConfigError(f"--part {text!r} is not I/N with 1 <= I <= N <= {_MOST:,}; give 1/3, 2/3 and 3/3 of three")
    return Part(int(match[1]) - 1, int(match[2]))


_HOW = frozenset({"jobs", "workers", "overwrite", "quiet", "verbose"})
"""What was asked that no result depends on."""


def is_finished(part: Part, out: Path, asked: Asked, settings: dict[str, bool]) -> bool:
    """Whether ``out`` is this part, whole and of the same words: a job that is put back into a queue does not know."""
    from lip_plugin.evaluate.parts import read_part

    try:
        found = read_part(out)
    except ConfigError:
        return False
    same = {name: value for name, value in _document(asked, settings).items() if name not in _HOW}
    is_same = found.part == part and same == {name: value for name, value in found.asked.items() if name not in _HOW}
    return is_same and not any(found.flaws())


def part_directory(out: Path) -> AbstractContextManager[Output]:
    """Room for a part, as of `output_directory`, which may replace another one, and nothing else."""
    from lip_plugin.evaluate.parts import read_part
    from lip_plugin.files import check_output_directory, output_directory

    def check() -> None:
        try:
            replaceable = read_part(out).names
        except ConfigError:
            replaceable = frozenset[str]()
        check_output_directory(out, replaceable=replaceable)

    return output_directory(out, check=check)


def _document(asked: Asked, settings: dict[str, bool]) -> dict[str, Any]:
    return {"settings": settings, **dataclasses.asdict(asked)}


def write_part(
    task: Task, part: Part, out: Path, settings: dict[str, bool], output: Output | None, ranks: Ranks
) -> None:
    """Do the work of a part; the leader writes its folder."""
    from lip_plugin.evaluate.parts import fill_part

    task.work_on(part, ranks, partial_folder(out))

    def written() -> None:
        if output is None:
            return
        with output.filled() as folder:
            fill_part(partial_folder(out), folder, part, _document(task.asked, settings))
        discard(out)
        click.echo(f"Part {part.index + 1} of {part.of} written to {out}; lip merge makes one report of all parts")

    ranks.together(written)


def asked_again(document: dict[str, Any], **now: Any) -> tuple[Asked, dict[str, bool]]:
    """What was asked of a part, but for what is said ``now``, and its settings. Raises ConfigError."""
    settings = document.get("settings")
    typed = {name: value for name, value in document.items() if name != "settings"} | now
    kinds = get_type_hints(Asked, localns={"Effort": str})
    fits = typed.keys() == kinds.keys() and all(isinstance(value, kinds[name]) for name, value in typed.items())
    if not fits or not isinstance(settings, dict) or not all(isinstance(flag, bool) for flag in settings.values()):
        raise ConfigError("part.json does not say what was asked for; it is of another version, or damaged")
    if typed["bound"] not in ("quick", "tight") or not settings.keys() <= {"tightness", "audit_lipschitz"}:
        raise ConfigError("part.json says what nobody can ask for; it is of another version, or damaged")
    return Asked(**typed), dict[str, bool](settings)
