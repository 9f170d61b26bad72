"""``report.html`` and ``curve.svg`` against those of the measured report: every word and number, but not the lines."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from lip_plugin.errors import CheckpointError, MissingDependencyError
from lip_plugin.untrusted import read_regular
from lip_plugin.verification.agreement import text_disagreements
from lip_plugin.verification.checks import Check, check, not_checked
from lip_plugin.verification.claims import LARGEST_DOCUMENT
from lip_plugin.verification.documents import unreadable

_DRAWING = re.compile(r"<svg\b.*?</svg>", re.DOTALL)
_WORDS = re.compile(r'(?<=aria-label=")[^"]*|(?<=>)[^<>]+(?=<)')
_PICTURE = re.compile(r'(?<=src=")data:[^"]*')


def drawing_check(directory: Path, file: str, draw: Callable[[], str]) -> Check:
    """``draw`` makes the file again. Releases of matplotlib and Pillow differ in lines, not in words."""
    try:
        expected = draw()
    except MissingDependencyError as error:
        return not_checked(file, "words", str(error))
    try:
        claimed = read_regular(directory / file, limit=LARGEST_DOCUMENT).decode("utf-8")
    except (OSError, UnicodeDecodeError, CheckpointError) as error:
        return check(file, "words", "readable", unreadable(error), agrees=False)
    difference = next(text_disagreements(_words(claimed), _words(expected)), None)
    if difference is None:
        return check(file, "words, not lines", "as written", "the same", agrees=True)
    return check(file, difference.where, difference.claimed, difference.measured, agrees=False)


def _words(text: str) -> str:
    """With every drawing as its labels, and pictures left out."""
    return _DRAWING.sub(lambda drawing: "\n".join(_WORDS.findall(drawing[0])), _PICTURE.sub("", text))
