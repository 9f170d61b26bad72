"""``report.json`` as a stranger wrote it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from lip_plugin.errors import CheckpointError
from lip_plugin.schema.command import command_line
from lip_plugin.schema.consistency import problems
from lip_plugin.schema.points import LARGEST_DOCUMENT
from lip_plugin.schema.refusal import refusal
from lip_plugin.schema.report import ReportValues
from lip_plugin.untrusted import parse_document, printable, read_regular

_REPORT = TypeAdapter(ReportValues)


def read_report(path: Path) -> ReportValues:
    """The command is worded anew from the other values: a stranger's might be another one, to be copied and run.

    Raises CheckpointError, in one line that names file and field, for anything that we would not write; OSError.
    """
    content = read_regular(path, limit=LARGEST_DOCUMENT)
    parse_document(content, str(path))  # refuses what readers of JSON take for different things
    try:
        report = _REPORT.validate_json(content)
    except ValidationError as error:
        raise refusal(path, error) from error
    for where, what in problems(report):
        raise CheckpointError(f"{path}: {where}: {printable(what, longest=500)}")
    return dataclasses.replace(report, request=dataclasses.replace(report.request, command=command_line(report)))
