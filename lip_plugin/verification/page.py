"""``report.html`` against the page of the measured report: every word and number, but not the drawings."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from lip_plugin.errors import CheckpointError, MissingDependencyError
from lip_plugin.evaluate import Report
from lip_plugin.report import html
from lip_plugin.untrusted import read_regular
from lip_plugin.verification.agreement import text_disagreements
from lip_plugin.verification.checks import Check, check, not_checked
from lip_plugin.verification.claims import LARGEST_DOCUMENT

_DRAWINGS = re.compile(r'<svg .*?</svg>|(?<=src=")data:[^"]*', re.DOTALL)
"""Releases of matplotlib and Pillow draw them differently."""


def page_checks(directory: Path, file: str, report: Report, *, gallery: bool) -> Iterator[Check]:
    """``gallery``: whether the page shows images, as it was written."""
    try:
        expected = html(report, gallery=gallery)
    except MissingDependencyError as error:
        yield not_checked(file, "page", str(error))
        return
    try:
        claimed = read_regular(directory / file, limit=LARGEST_DOCUMENT).decode("utf-8")
    except (OSError, UnicodeDecodeError, CheckpointError) as error:
        yield check(file, "page", "readable", error, agrees=False)
        return
    difference = next(text_disagreements(_DRAWINGS.sub("", claimed), _DRAWINGS.sub("", expected)), None)
    if difference is None:
        yield check(file, "page, without its drawings", "as written", "the same", agrees=True)
    else:
        yield check(file, difference.where, difference.claimed, difference.measured, agrees=False)
